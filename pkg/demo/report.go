package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Reporter prints scenarios and steps for a person, as they happen.
type Reporter struct {
	W io.Writer
	// Colour marks what differed, for terminals.
	Colour bool

	steps, differed int
}

// Scenario prints the heading of a scenario.
func (p *Reporter) Scenario(sc Scenario) {
	fmt.Fprintf(p.W, "\n%s\n", p.bold(sc.Name+". "+sc.Title))
}

// Step prints what was asked, expected and seen, and the gateway's line.
func (p *Reporter) Step(r Result) {
	p.steps++
	mark := p.green("✓")
	if r.Err != nil {
		p.differed++
		mark = p.red("✗")
	}
	fmt.Fprintf(p.W, "  %s %-45s %-46s %8s\n", mark, r.Asked, r.Happened, milliseconds(r.Took))
	if r.Err != nil {
		fmt.Fprintf(p.W, "      expected %s\n      %s\n", r.Expected, p.red(r.Err.Error()))
	}
	if r.Flow != nil {
		line, err := json.Marshal(r.Flow)
		if err != nil {
			line = []byte(err.Error())
		}
		fmt.Fprintf(p.W, "      %s\n", p.dim(string(line)))
	}
}

// Summary prints how many steps went as expected.
func (p *Reporter) Summary(took time.Duration) {
	fmt.Fprintf(p.W, "\n%d steps, %d as expected, %d not, in %.1f s\n", p.steps, p.steps-p.differed, p.differed, took.Seconds())
}

func milliseconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

func (p *Reporter) style(code, s string) string {
	if !p.Colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p *Reporter) bold(s string) string  { return p.style("1", s) }
func (p *Reporter) dim(s string) string   { return p.style("2", s) }
func (p *Reporter) red(s string) string   { return p.style("31", s) }
func (p *Reporter) green(s string) string { return p.style("32", s) }
