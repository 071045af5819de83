package dialogue

import (
	"slices"
	"strings"
)

// mechanisms are those of AUTH that are known by name. Any other word in their
// place may be a password in the wrong one.
var mechanisms = []string{
	"ANONYMOUS", "CRAM-MD5", "DIGEST-MD5", "EXTERNAL", "GSSAPI", "LOGIN", "NTLM", "OAUTHBEARER", "PLAIN",
	"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-512-PLUS", "XOAUTH2",
}

// verbs are the commands of SMTP and LMTP.
var verbs = []string{
	"BDAT", "DATA", "EHLO", "ETRN", "EXPN", "HELO", "HELP", "LHLO", "MAIL", "NOOP", "QUIT", "RCPT", "RSET", "STARTTLS", "VRFY", "XCLIENT",
}

// masked takes out of a command what may stand in for a password: all that AUTH
// says but the mechanism (RFC 4954 §4), however the line is written. And after an
// AUTH, all that is no command: clients that are refused one, or that do not wait
// for the reply, go on with the lines that they had in mind.
func (s *Session) masked(line string) string {
	words := strings.Fields(line)
	if len(words) == 0 {
		return line
	}
	const auth = "AUTH"
	verb := strings.ToUpper(words[0])
	switch rest := words[1:]; {
	case !strings.HasPrefix(verb, auth):
		if s.auth && !slices.Contains(verbs, verb) {
			return "***"
		}
		return line
	case verb == auth && len(rest) == 0:
		s.auth = true
		return words[0]
	case verb == auth && slices.Contains(mechanisms, strings.ToUpper(rest[0])):
		s.auth = true
		if len(rest) == 1 {
			return words[0] + " " + rest[0]
		}
		return words[0] + " " + rest[0] + " ***"
	}
	s.auth = true
	return words[0][:len(auth)] + " ***"
}
