package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"waypost/relay/auth"
)

// password gets a new password: from the file that a flag names, from a
// terminal, or from standard input.
func (u *userProgram) password(cmd *cobra.Command) (string, error) {
	if u.passwordFile != "" {
		f, err := os.Open(u.passwordFile)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		defer f.Close()
		return firstLine(f)
	}
	if in, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		return u.ask(in)
	}
	return firstLine(cmd.InOrStdin())
}

// ask asks twice on a terminal, which does not show what is typed.
func (u *userProgram) ask(in *os.File) (string, error) {
	var answers [2]string
	for i, question := range []string{"New password: ", "Again: "} {
		fmt.Fprint(u.stderr, question)
		answer, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(u.stderr)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		answers[i] = string(answer)
	}
	if answers[0] != answers[1] {
		return "", &codedError{exitData, errors.New("the two passwords differ")}
	}
	return answers[0], nil
}

// firstLine reads one line, without its end.
func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, auth.MaxPassword+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}
