package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"waypost/cmd/waypost/internal/terminal"
	"waypost/configs"
	"waypost/relay"
	"waypost/relay/dkim"
	"waypost/relay/smtp"
)

func (p *program) dkimCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dkim",
		Short: "Make the keys that sign mail, and compare them with the DNS",
		Args:  onlySubcommands,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.dkimGenerateCommand(), p.dkimCheckCommand())
	return cmd
}

// newKey is what is to be generated.
type newKey struct {
	domain, selector, algorithm, dir string
	json                             bool
}

func (p *program) dkimGenerateCommand() *cobra.Command {
	var k newKey
	cmd := &cobra.Command{
		Use:   "generate DOMAIN",
		Short: "Make a key, and print the DNS record that publishes it",
		Long: `Makes a key in the file DOMAIN.SELECTOR.pem, which only you can read, and prints
its DNS record as a zone file has it, and the [[dkim]] for the configuration. A
file that is there is never replaced.

Sign with a key of each kind: RSA, which everybody verifies, and Ed25519.`,
		Example: "  waypost dkim generate example.org --dir /etc/waypost\n  waypost dkim generate example.org --algorithm ed25519 --selector s2026e",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("%q takes one domain\nrun \"%s --help\" to see what it takes", cmd.CommandPath(), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			k.domain = args[0]
			return p.generate(k)
		},
	}
	cmd.Flags().StringVar(&k.selector, "selector", "", "the `name` of the selector (default one made of the date and the algorithm)")
	cmd.Flags().StringVar(&k.algorithm, "algorithm", string(dkim.RSA), "rsa or ed25519")
	cmd.Flags().StringVar(&k.dir, "dir", ".", "the `directory` for the file")
	cmd.Flags().BoolVar(&k.json, "json", false, "one JSON object")
	return cmd
}

// selectorForm is what a selector may be (RFC 6376 §3.1).
var selectorForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

func (p *program) generate(k newKey) error {
	algorithm := dkim.Algorithm(k.algorithm)
	if algorithm != dkim.RSA && algorithm != dkim.Ed25519 {
		return usageError("--algorithm does not take %q%s", k.algorithm, meant("", k.algorithm, []string{string(dkim.RSA), string(dkim.Ed25519)}))
	}
	domain, err := smtp.ASCIIDomain(k.domain)
	if err != nil {
		return usageError("%.80q is not a domain: %v", k.domain, err)
	}
	if k.selector == "" {
		k.selector = "s" + time.Now().UTC().Format("20060102") + string(algorithm[:1])
	}
	if !selectorForm.MatchString(k.selector) {
		return usageError("--selector: %.80q is not a name of letters, digits and hyphens", k.selector)
	}
	signer, err := dkim.Generate(algorithm)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	text, err := dkim.EncodeKey(signer)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	record, err := dkim.Record(signer.Public())
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	name, err := filepath.Abs(filepath.Join(k.dir, domain+"."+k.selector+".pem"))
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	if err := writeKey(name, text); err != nil {
		return err
	}
	made := generatedKey{
		Domain: domain, Selector: k.selector, KeyFile: name, Algorithm: string(algorithm),
		RecordName: dkim.RecordName(domain, k.selector), Record: record,
	}
	if k.json {
		return printJSON(p.stdout, made)
	}
	return made.print(p.stdout)
}

// generatedKey is a key that was made, and how it is published.
type generatedKey struct {
	Domain    string `json:"domain"`
	Selector  string `json:"selector"`
	KeyFile   string `json:"key_file"`
	Algorithm string `json:"algorithm"`
	// RecordName is the name of the TXT record, without a dot at its end.
	RecordName string `json:"record_name"`
	// Record is its text, in one piece.
	Record string `json:"record"`
}

func (k generatedKey) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "; publish this record:\n%s\n\n# configure the key, before the one that it replaces:\n[[dkim]]\ndomain = %q\nselector = %q\nkey_file = %q\n",
		dkim.Zone(k.RecordName, k.Record), k.Domain, k.Selector, k.KeyFile)
	return outputError(err)
}

// writeKey makes a file that was not there.
func writeKey(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return &codedError{exitData, fmt.Errorf("%s is there already, and a key is never replaced: name another selector", name)}
	}
	if err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return &codedError{exitIO, fmt.Errorf("write the key: %w", errors.Join(err, os.Remove(name)))}
	}
	return nil
}

func (p *program) dkimCheckCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check [DOMAIN…]",
		Short: "Compare the keys of the configuration with their DNS records",
		Long: `Looks up the DNS record of each [[dkim]], or of those of some domains, and says
whether it has the key. A key that cannot be read makes the exit code 78, a
record that is missing or has another key 65, and a DNS that does not answer 75.`,
		Example: "  waypost dkim check\n  waypost dkim check example.org --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.checkKeys(cmd.Context(), args, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return cmd
}

// checkedKey is one key, as it is printed.
type checkedKey struct {
	Domain    string `json:"domain"`
	Selector  string `json:"selector"`
	KeyFile   string `json:"key_file"`
	Algorithm string `json:"algorithm,omitempty"`
	Bits      int    `json:"bits,omitempty"`
	State     string `json:"state"` // published, missing, other, unknown, unreadable
	Error     string `json:"error,omitempty"`
	Testing   bool   `json:"testing,omitempty"`
}

func (p *program) checkKeys(ctx context.Context, domains []string, asJSON bool) error {
	// The files are what is checked here.
	c, err := configs.LoadUnchecked(p.configFile, p.environ)
	if err != nil {
		return err
	}
	reports := relay.CheckKeys(ctx, c, domains)
	if len(reports) == 0 {
		return &codedError{exitConfig, errors.New("there is no [[dkim]] to check")}
	}
	out := bufio.NewWriter(p.stdout)
	var failed error
	for _, r := range reports {
		one, err := checked(r)
		if failed == nil || err != nil && exitCode(err) > exitCode(failed) {
			failed = err
		}
		if err := one.print(out, asJSON); err != nil {
			return err
		}
	}
	if err := outputError(out.Flush()); err != nil {
		return err
	}
	return failed
}

// checked returns a key as it is printed, and the error of a bad one.
func checked(r relay.KeyReport) (checkedKey, error) {
	one := checkedKey{
		Domain: r.Domain, Selector: r.Selector, KeyFile: r.File, Algorithm: string(r.Algorithm), Bits: r.Bits,
		State: r.Finding.State.String(), Testing: r.Finding.Testing,
	}
	err := r.Finding.Err
	code := map[dkim.State]int{dkim.Unknown: exitTemporary, dkim.Missing: exitData, dkim.Other: exitData}[r.Finding.State]
	if r.Unreadable != nil {
		one.State, err, code = "unreadable", r.Unreadable, exitConfig
	}
	if err == nil {
		return one, nil
	}
	one.Error = err.Error()
	return one, &codedError{code, fmt.Errorf("a key of %s is not in order", r.Domain)}
}

func (k checkedKey) print(out *bufio.Writer, asJSON bool) error {
	if asJSON {
		text, err := terminal.JSON(k, "")
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintln(out, text)
		return nil
	}
	line := dkim.RecordName(k.Domain, k.Selector) + " " + k.State
	if k.Algorithm != "" {
		line += fmt.Sprintf(", %s of %d bits", k.Algorithm, k.Bits)
	}
	if k.Algorithm == string(dkim.RSA) && k.Bits < dkim.GoodBits {
		line += fmt.Sprintf(" (fewer than the %d that are recommended)", dkim.GoodBits)
	}
	if k.Testing {
		line += ", in test mode (t=y)"
	}
	if k.Error != "" {
		line += ": " + k.Error
	}
	_, _ = fmt.Fprintln(out, smtp.Printable(line))
	return nil
}
