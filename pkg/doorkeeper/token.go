package doorkeeper

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"os"
	"strings"

	"sallyport/pkg/reread"
)

const (
	// minToken is how long a token must be, in characters, and minDistinct how many
	// different ones it must have: nobody guesses sixteen of what a machine drew, and
	// "changemechangeme" was not drawn.
	minToken    = 16
	minDistinct = 8
	// maxToken bounds it.
	maxToken = 4096
)

// Token is a secret in a file, which is read again when it changes. Use ReadToken.
type Token struct{ files *reread.Files[string] }

// ReadToken reads a token from a file, without space around it. Report is told, later, of
// a file that cannot be used: the token from before stays.
func ReadToken(path string, report func(error)) (*Token, error) {
	files, err := reread.New(reread.Options[string]{
		Paths:  []string{path},
		Read:   func() (string, error) { return readToken(path) },
		Report: func(err error) { report(fmt.Errorf("the new token is not used, the one from before stays: %w", err)) },
	})
	if err != nil {
		return nil, err
	}
	return &Token{files}, nil
}

func readToken(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(data))
	if err := checkToken(token); err != nil {
		return "", fmt.Errorf("the token in %s: %w; `openssl rand -hex 32` makes one", path, err)
	}
	return token, nil
}

func checkToken(token string) error {
	distinct := make(map[byte]bool)
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return errors.New("there is a character in it that is neither a letter, a digit nor punctuation")
		}
		distinct[token[i]] = true
	}
	switch {
	case len(token) < minToken:
		return fmt.Errorf("it is %d characters long, and must have %d, drawn at random", len(token), minToken)
	case len(token) > maxToken:
		return fmt.Errorf("it is %d characters long: %d are the most", len(token), maxToken)
	case len(distinct) < minDistinct:
		return fmt.Errorf("it has only %d different characters: it must be drawn at random", len(distinct))
	}
	return nil
}

// is compares in a time that does not tell where a difference is.
func (t *Token) is(given string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(t.files.Get()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// key is what sessions are signed with: another token ends them all.
func (t *Token) key() []byte {
	mac := hmac.New(sha256.New, []byte(t.files.Get()))
	mac.Write([]byte("sallyport session v1"))
	return mac.Sum(nil)
}
