package relaytest

import "strings"

func (ss *session) hello(c Command, name string, extended bool) {
	if name == "" || strings.ContainsAny(name, " \t") {
		ss.violate("bad greeting %q", c.Line)
	}
	usual := "250 " + ss.sink.hostname
	var offered []string
	if extended {
		ss.sink.mu.Lock()
		offered = append(offered, ss.sink.offered...)
		ss.sink.mu.Unlock()
		if ss.sink.tls != nil && !ss.next.TLS {
			offered = append(offered, "STARTTLS")
		}
		if ss.sink.user != "" {
			offered = append(offered, "AUTH "+ss.sink.mechanisms)
		}
		usual = ehloReply(ss.sink.hostname, offered)
	}
	a := ss.sink.action(Command{Conn: ss.id, Verb: c.Verb, Line: c.Line, TLS: ss.next.TLS})
	if ss.act(a, usual) != 2 {
		return
	}
	if extended && a.Reply != "" {
		offered = offersIn(a.Reply)
	}
	ss.reset()
	ss.offered, ss.next.Hello, ss.next.Extended = offered, name, extended
}

func ehloReply(hostname string, offered []string) string {
	lines := append([]string{hostname}, offered...)
	for i := range lines {
		separator := "-"
		if i == len(lines)-1 {
			separator = " "
		}
		lines[i] = "250" + separator + lines[i]
	}
	return strings.Join(lines, "\n")
}

// offersIn returns the extensions in a scripted reply to EHLO.
func offersIn(reply string) []string {
	var offered []string
	for _, line := range strings.Split(reply, "\n")[1:] {
		if len(line) > 4 {
			offered = append(offered, line[4:])
		}
	}
	return offered
}

func (ss *session) mailFrom(c Command, args string) {
	mailbox, params, ok := cutPath(args, "FROM:")
	if !ok {
		ss.violate("bad syntax: %q", c.Line)
		ss.step(c, "501 5.5.4 bad syntax")
		return
	}
	c.Mailbox = mailbox
	usual := "250 2.1.0 ok"
	switch {
	case ss.mail:
		ss.violate("MAIL within a transaction")
		usual = "503 5.5.1 a transaction is open"
	case ss.next.Hello == "":
		ss.violate("MAIL before EHLO")
		usual = "503 5.5.1 EHLO first"
	case ss.sink.user != "" && ss.next.User == "":
		usual = "530 5.7.0 authenticate first"
	}
	ss.params(c, params, map[string]string{"SIZE": "SIZE", "BODY": "8BITMIME", "SMTPUTF8": "SMTPUTF8",
		"RET": "DSN", "ENVID": "DSN", "AUTH": "AUTH", "BY": "DELIVERBY", "MT-PRIORITY": "MT-PRIORITY", "REQUIRETLS": "REQUIRETLS"})
	if strings.Contains(strings.ToUpper(params)+" ", " BODY=BINARYMIME ") && !(ss.has("BINARYMIME") && ss.has("CHUNKING")) {
		ss.violate("BODY=BINARYMIME was not offered")
	}
	if ss.step(c, usual) == 2 {
		ss.mail = true
		ss.next.MailLine, ss.next.From = c.Line, mailbox
	}
}

func (ss *session) rcptTo(c Command, args string) {
	mailbox, params, ok := cutPath(args, "TO:")
	if !ok || mailbox == "" {
		ss.violate("bad syntax: %q", c.Line)
		ss.step(c, "501 5.5.4 bad syntax")
		return
	}
	c.Mailbox = mailbox
	usual := "250 2.1.5 ok"
	if !ss.mail {
		// Legal in a group whose MAIL was refused (RFC 2920 §3.1).
		usual = "503 5.5.1 MAIL first"
	}
	ss.params(c, params, map[string]string{"NOTIFY": "DSN", "ORCPT": "DSN"})
	if ss.step(c, usual) == 2 && ss.mail {
		ss.next.RcptLines = append(ss.next.RcptLines, c.Line)
		ss.next.To = append(ss.next.To, mailbox)
	}
}

// params checks that each parameter's extension is offered (RFC 5321
// §4.1.1.11) and that it stands once.
func (ss *session) params(c Command, params string, needs map[string]string) {
	seen := make(map[string]bool)
	for param := range strings.FieldsSeq(params) {
		name, _, _ := strings.Cut(strings.ToUpper(param), "=")
		if extension := needs[name]; extension == "" || !ss.has(extension) || seen[name] {
			ss.violate("%s parameter %q is unknown, not offered or repeated", c.Verb, param)
		}
		seen[name] = true
	}
	utf8 := strings.Contains(strings.ToUpper(ss.next.MailLine+" "), " SMTPUTF8 ") || seen["SMTPUTF8"]
	if !utf8 && strings.ContainsFunc(c.Line, func(r rune) bool { return r >= 0x80 }) {
		ss.violate("%s is not ASCII, without SMTPUTF8: %q", c.Verb, c.Line)
	}
}

// cutPath takes the path after FROM: or TO: apart from its parameters. An
// angle bracket within quotes does not end it.
func cutPath(args, keyword string) (mailbox, params string, ok bool) {
	if len(args) < len(keyword) || !strings.EqualFold(args[:len(keyword)], keyword) {
		return "", "", false
	}
	args, ok = strings.CutPrefix(args[len(keyword):], "<")
	if !ok {
		return "", "", false
	}
	quoted := false
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == '\\' && quoted:
			i++
		case args[i] == '"':
			quoted = !quoted
		case args[i] == '>' && !quoted:
			params = args[i+1:]
			return args[:i], params, params == "" || params[0] == ' '
		}
	}
	return "", "", false
}
