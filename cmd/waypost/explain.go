package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"waypost/configs"
	"waypost/relay"
	"waypost/relay/control"
	"waypost/relay/smtp"
)

// explainProgram is the explain command.
type explainProgram struct {
	queueProgram
	question        control.Question
	size            string
	offline, asJSON bool
}

func (p *program) explainCommand() *cobra.Command {
	e := &explainProgram{queueProgram: queueProgram{program: p}}
	cmd := &cobra.Command{
		Use:   "explain RCPT…",
		Short: "Say what would become of a message, without sending it",
		Long: `Says where mail for each recipient would go: the route and where it is
configured, the next hops with the addresses that they have now, the security
that each host must have and why (DANE, MTA-STS), whether the destination is
paused, and when mail would be tried again; and which keys would sign it, if its
author were of the sender's domain. Nobody is connected to, unless --connect has
each host greeted: EHLO, STARTTLS, its certificate, and QUIT. Nobody logs in for
that, and it does not count in the limits of the next hop.

The running waypost answers, by what it does with real mail. With --offline the
configuration is asked instead, and what waits in a queue is not known.

With --client, --login, --submission or --size it also says whether such a message
would be taken, and by which rule. Limits on rates are not looked at, nor what depends on
a message's content. What is refused makes the exit code 75 or 65, as the reply
would be temporary or not.`,
		Example: `  waypost explain user@example.org
  waypost explain --client 192.0.2.7 --from app@example.com user@example.org`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return nil
			}
			return usageError("%q needs a recipient\nrun \"%s --help\" to see what it takes", cmd.CommandPath(), cmd.CommandPath())
		},
		RunE: func(cmd *cobra.Command, args []string) error { return e.run(cmd.Context(), args) },
	}
	flags := cmd.Flags()
	e.dataDirFlag(flags)
	flags.StringVar(&e.question.From, "from", "", "the sender's `address` (default the null reverse-path)")
	flags.StringVar(&e.question.Client, "client", "", "the IP `address` of the client")
	flags.StringVar(&e.question.Login, "login", "", "the `name` by which the client has logged in")
	flags.BoolVar(&e.question.Submission, "submission", false, "it comes in at a listener for submission")
	flags.StringVar(&e.size, "size", "", "the message's `size`, such as 30MB")
	flags.BoolVar(&e.offline, "offline", false, "ask the configuration, not the running waypost")
	flags.BoolVar(&e.question.Connect, "connect", false, "greet each host, and tell what it offers")
	flags.BoolVar(&e.asJSON, "json", false, "one JSON object")
	return cmd
}

func (e *explainProgram) run(ctx context.Context, recipients []string) error {
	e.question.Recipients = recipients
	if e.size != "" {
		var size configs.Size
		if err := size.UnmarshalText([]byte(e.size)); err != nil {
			return usageError("--size: %v", err)
		}
		e.question.Size = int64(size)
	}
	if !e.offline {
		return e.connect(ctx, func(ctx context.Context, c *control.Client) error {
			answer, err := c.Explain(ctx, &e.question)
			if err != nil {
				return err
			}
			return e.print(answer)
		})
	}
	c, err := e.config()
	if err != nil {
		return err
	}
	answer, err := relay.Explain(ctx, c, &e.question)
	if err != nil {
		return err
	}
	return e.print(answer)
}

// print prints an answer. That something would be refused is the command's error.
func (e *explainProgram) print(answer *control.Explanation) error {
	if e.asJSON {
		if err := printJSON(e.stdout, answer); err != nil {
			return err
		}
		return refusal(answer)
	}
	out := bufio.NewWriter(e.stdout)
	p := &explanation{out}
	p.decision("Sender", answer.Decision)
	for _, key := range answer.Signed {
		p.field("Signed by", "%s", key)
	}
	for _, key := range answer.Unsigned {
		p.field("Not signed by", "%s", key)
	}
	for i := range answer.Recipients {
		p.recipient(&answer.Recipients[i])
	}
	if err := outputError(out.Flush()); err != nil {
		return err
	}
	return refusal(answer)
}

// refusal is the error of the first decision against the message.
func refusal(answer *control.Explanation) error {
	all := []*control.ExplainedDecision{answer.Decision}
	for i := range answer.Recipients {
		all = append(all, answer.Recipients[i].Decision)
	}
	for _, d := range all {
		if d == nil || d.Allowed {
			continue
		}
		code := exitData
		if strings.HasPrefix(d.Reply, "4") {
			code = exitTemporary
		}
		return &codedError{code, errors.New("it would be refused: " + smtp.Printable(d.Reply))}
	}
	return nil
}

// explanation writes an answer as text. An error of the writer shows at its end.
type explanation struct{ *bufio.Writer }

func (p *explanation) field(name, format string, args ...any) {
	_, _ = fmt.Fprintf(p, "%-13s %s\n", name, smtp.Printable(fmt.Sprintf(format, args...)))
}

func (p *explanation) decision(name string, d *control.ExplainedDecision) {
	if d == nil {
		return
	}
	word := "allowed"
	if !d.Allowed {
		word = "refused with " + d.Reply
	}
	p.field(name, "%s, by %s%s", word, d.Reason, at(d.Place))
}

// at is a place in parentheses.
func at(place string) string {
	if place == "" {
		return ""
	}
	return " (" + place + ")"
}

func (p *explanation) recipient(r *control.ExplainedRecipient) {
	p.field("Recipient", "%s", r.Address)
	p.decision("  Relaying", r.Decision)
	if a := r.Alias; a != nil {
		p.field("  Alias", "%s (%s): %s", a.Name, a.Place, strings.Join(a.Members, ", "))
		if len(a.Owners) > 0 {
			p.field("  Reports to", "%s", strings.Join(a.Owners, ", "))
		}
		return
	}
	if r.Class != "" {
		p.field("  Class", "%s", r.Class)
	}
	name := r.Route
	if name == "" {
		name = "none: by MX"
	}
	p.field("  Route", "%s%s", name, at(r.RoutePlace))
	if r.Username != "" {
		p.field("  Logs in as", "%s", r.Username)
	}
	p.field("  Destination", "%s", r.Destination)
	if r.PausedUntil != nil {
		p.field("  Paused", "until %s", r.PausedUntil.Format(time.RFC3339))
	}
	for i := range r.NextHops {
		p.hop(&r.NextHops[i], r)
	}
	p.replies(r.Replies)
	var waits []string
	for _, s := range r.RetrySeconds {
		waits = append(waits, span(time.Duration(s*float64(time.Second))))
	}
	p.field("  Retry", "after %s and so on, for %s", strings.Join(waits, ", "), span(time.Duration(r.LifetimeSeconds*float64(time.Second))))
}

// replies lists the rules about refusals, those that are built in by their names.
func (p *explanation) replies(all []control.ExplainedReply) {
	var names []string
	for _, rule := range all {
		if rule.Place == "" {
			names = append(names, rule.Rule)
			continue
		}
		effect := rule.Effect
		if effect == "" {
			effect = "as the code says"
		}
		p.field("  Reply rule", "%s%s: %s", rule.Rule, at(rule.Place), effect)
	}
	if len(names) > 0 {
		p.field("  Reply rule", "built in: %s", strings.Join(names, ", "))
	}
}

// session tells what came of greeting a host.
func (p *explanation) session(s *control.ExplainedSession) {
	switch {
	case s == nil:
		return
	case s.Error != "":
		p.field("      Session", "none: %s", s.Error)
		return
	}
	secured := s.TLS
	if secured == "" {
		secured = "in clear"
	}
	p.field("      Session", "%s, %s, in %s", s.Host, secured, time.Duration(s.Seconds*float64(time.Second)).Round(time.Millisecond))
	p.field("        Offers", "%s", strings.Join(s.Extensions, ", "))
	if c := s.Certificate; c != nil {
		p.field("        Shows", "%s for %s, by %s, until %s", c.Subject, strings.Join(c.Names, " "), c.Issuer, c.Ends.Format(time.RFC3339))
		p.field("        Key", "sha256:%s", c.SPKISHA256)
	}
}

// pace tells how fast mail may leave.
func (p *explanation) pace(s *control.ExplainedPace) {
	if s == nil {
		return
	}
	limits := fmt.Sprintf("up to %d connections", s.MaxConnections)
	if len(s.Rates) > 0 {
		limits += ", " + strings.Join(s.Rates, ", ")
	}
	if s.Rule != "" {
		limits += ", by " + s.Rule + at(s.Place)
	}
	p.field("    Pace", "%s", limits)
	if s.Window > 0 {
		p.field("      Now", "%d of %d in use at %s, %d next hops wait", s.Used, s.Window, s.Site, s.Waiting)
	}
	if s.Until != nil {
		p.field("      Waits", "until %s", s.Until.Format(time.RFC3339))
	}
	if s.Trouble != "" {
		p.field("      Trouble", "%s", s.Trouble)
	}
}

func (p *explanation) hop(h *control.ExplainedHop, of *control.ExplainedRecipient) {
	share := ""
	if h.Share > 0 {
		share = fmt.Sprintf(", first for %.3g%% by its weight %d", 100*h.Share, h.Weight)
	}
	p.field("  Next hop", "%s%s", h.Via, share)
	if h.Destination != "" {
		p.field("    Waits as", "%s", h.Destination)
	}
	if h.PausedUntil != nil {
		p.field("    Paused", "until %s", h.PausedUntil.Format(time.RFC3339))
	}
	if h.Username != of.Username && h.Username != "" {
		p.field("    Logs in as", "%s", h.Username)
	}
	if h.Hello != "" {
		p.field("    Our name", "%s", h.Hello)
	}
	if len(h.SourceAddresses) > 0 {
		p.field("    From", "%s", strings.Join(h.SourceAddresses, ", "))
	}
	if h.Error != "" {
		p.field("    Error", "%s", h.Error)
	}
	p.pace(h.Pace)
	for i := range h.Hosts {
		host := &h.Hosts[i]
		p.field("    Host", "%s %s", host.Name, strings.Join(host.Addresses, " "))
		p.field("      TLS", "%s, %s", host.TLS, host.TLSReason)
		if host.DANE != "" {
			p.field("      DANE", "%s", host.DANE)
		}
		if host.MTASTS != "" {
			p.field("      MTA-STS", "%s", host.MTASTS)
		}
		if host.Error != "" {
			p.field("      Error", "%s", host.Error)
		}
		p.session(host.Session)
	}
}
