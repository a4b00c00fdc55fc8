package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/pkg/diag"
	"sallyport/policy/diff"
	"sallyport/policy/migrate"
	"sallyport/policy/model"
	"sallyport/policy/source"
)

func newImport() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "import",
		Short:   "Write policies of other systems in our own language",
		Long:    `Write policies of other systems in our own language.`,
		Example: `  sallyport import istio istio/*.yaml --dir policies`,
		RunE:    needsCommand,
	}
	cmd.AddCommand(newImportIstio())
	return cmd
}

func newImportIstio() *cobra.Command {
	o := migrate.Options{Gateway: migrate.Gateway{Name: "egress", TrustDomain: "cluster.local"}}
	outbound := &format{value: "RegistryOnly", allowed: []string{"RegistryOnly", "AllowAny"}}
	action := &format{value: "Deny", allowed: []string{"Deny", "Allow"}}
	var dir string
	var force bool
	cmd := &cobra.Command{
		Use:   "istio FILE|DIR|-...",
		Short: "Write Istio's documents in our own language",
		Long: `Write AuthorizationPolicies, ServiceEntries, Gateways, VirtualServices and
DestinationRules as EgressPolicies and Destinations, and report what became of each
document. This is a convenience: Istio's documents work as they are, too.

What is written means the same: both are compiled and compared, and every difference
is shown. What our language cannot say stays as Istio's document, beside the rest. A
document that cannot be honoured at all is an error.

Without --dir the documents go to standard output, and the report to standard error.
One of the files may be an EgressGateway; otherwise one is made up. - is standard
input, for what kubectl prints.

Documents of other systems are left out, and listed. What may be a policy with a slip
in its apiVersion or kind is an error, as is a file that is not read.

Exit code: 0 the result means the same, but for what is left out, or --force is
given; 4 it would allow more, and is not written; 1 it allows less, or there are
errors; 2 wrong usage.`,
		Example: `  sallyport import istio examples/tetrate/07-per-service-account/istio --dir policies
  sallyport import istio -n istio-system external-google.yaml
  kubectl get serviceentries,authorizationpolicies -A -o yaml | sallyport import istio -`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("no file is named: name those with Istio's documents, or - for standard input")
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&o.Namespace, "namespace", "n", "", "namespace of documents that say none, as for kubectl")
	cmd.Flags().StringVarP(&dir, "dir", "d", "", "new or empty directory to write to")
	cmd.Flags().StringVar(&o.Gateway.Name, "gateway-name", o.Gateway.Name, "name of the EgressGateway that is made up")
	cmd.Flags().StringVar(&o.Gateway.TrustDomain, "trust-domain", o.Gateway.TrustDomain, "its trust domain")
	cmd.Flags().Var(outbound, "outbound", "its outbound, Istio's outboundTrafficPolicy")
	cmd.Flags().Var(action, "default-action", "its defaultAction; Istio's meaning is Allow")
	cmd.Flags().BoolVar(&force, "force", false, "write the result even if it means something else")
	_ = cmd.MarkFlagDirname("dir")
	output := outputFlag(cmd, "text", "json")
	cmd.RunE = doing(func(cmd *cobra.Command, args []string) error {
		o.Gateway.AllowAny = outbound.value == "AllowAny"
		if action.value == "Allow" {
			o.Gateway.DefaultAction = model.Allow
		}
		o.Now = time.Now()
		if err := checkImportFlags(o); err != nil {
			return err
		}
		files, err := readAll(cmd.InOrStdin(), args)
		if err != nil {
			return err
		}
		result, diags := migrate.Istio(files, o)
		if err := diags.Err(); err != nil {
			return err
		}
		if result.Report.Documents() == 0 {
			return nothingToImport(args, result.Report)
		}
		return finishImport(cmd, result, dir, force, output.value)
	})
	return cmd
}

// finishImport writes the result, if it may be, and the report.
func finishImport(cmd *cobra.Command, result *migrate.Result, dir string, force bool, format string) error {
	report := result.Report
	if report.Differences != nil {
		same := func(p diag.Position) diag.Position { return p }
		report.Differences.Relocate(same, func(p diag.Position) diag.Position {
			p.File = filepath.ToSlash(filepath.Join(dir, p.File))
			return p
		})
	}
	mayWrite := force || !report.Widened()
	out := cmd.ErrOrStderr()
	if dir != "" {
		out = cmd.OutOrStdout()
	}
	if mayWrite {
		if err := writeFiles(cmd.OutOrStdout(), dir, result.Files); err != nil {
			return err
		}
	}
	if err := writeReport(out, report, format); err != nil {
		return err
	}
	switch {
	case force || report.Equal():
		return nil
	case report.Widened():
		cmd.PrintErrln("sallyport: nothing is written, as the result would allow more: look at the differences; --force writes it all the same")
		return silently(exitWidened)
	default:
		return silently(exitInvalid)
	}
}

func writeReport(w io.Writer, report *migrate.Report, format string) error {
	if format == "json" {
		return writeJSON(w, report)
	}
	return report.WriteText(w, diff.Show{})
}

// writeFiles writes into a directory that is new or empty, so that nothing else
// is in force there, or to w.
func writeFiles(w io.Writer, dir string, files []source.File) error {
	if dir == "" {
		for i, f := range files {
			if i > 0 {
				if _, err := fmt.Fprintln(w, "---"); err != nil {
					return err
				}
			}
			if _, err := w.Write(f.Data); err != nil {
				return err
			}
		}
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return fmt.Errorf("%s is not empty: %s is there; name a new directory, or remove what is in this one", dir, there[0].Name())
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.Path), f.Data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// checkImportFlags refuses values that no document may have.
func checkImportFlags(o migrate.Options) error {
	for _, f := range []struct{ flag, wrong string }{
		{"--namespace", o.CheckNamespace()},
		{"--gateway-name", o.Gateway.CheckName()},
		{"--trust-domain", o.Gateway.CheckTrustDomain()},
	} {
		if f.wrong != "" {
			return usage("%s: %s", f.flag, f.wrong)
		}
	}
	return nil
}

// nothingToImport says that nothing was found to be written anew: most likely,
// not what was meant is named.
func nothingToImport(args []string, report *migrate.Report) error {
	for i, arg := range args {
		if arg == "-" {
			args[i] = "standard input"
		}
	}
	others := ""
	if n := len(report.LeftOut); n > 0 {
		first := report.LeftOut[0]
		others = fmt.Sprintf("; left out: %s of other kinds, such as the %s at %s", plural(n, "document"), first.Kind, first.Position)
	}
	return fmt.Errorf("there is no document in %s that says who may reach what, or how%s: name the files with Istio's documents", strings.Join(args, ", "), others)
}

// readAll reads files, directories and standard input, all of them or none: a
// policy that is not read must not be lost.
func readAll(stdin io.Reader, paths []string) ([]source.File, error) {
	var out []source.File
	var found diag.List
	var r reading
	for _, path := range paths {
		if path == "-" {
			data, err := io.ReadAll(stdin)
			if err != nil {
				return nil, err
			}
			if len(data) > 0 {
				out = append(out, fileOf("stdin", data))
			}
			continue
		}
		files, diags := r.read(path)
		out, found = append(out, files...), append(found, diags...)
	}
	if len(found) == 0 {
		return out, nil
	}
	for i := range found {
		found[i].Severity = diag.Error
	}
	return nil, diag.ListError{List: found}
}
