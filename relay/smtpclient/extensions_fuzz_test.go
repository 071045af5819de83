package smtpclient

import (
	"reflect"
	"strings"
	"testing"
)

// FuzzExtensions: whatever a host offers, its keywords mean the same in any case,
// its numbers are within bounds, and what is told of them is one line each.
func FuzzExtensions(f *testing.F) {
	for _, reply := range []string{
		"PIPELINING\nSIZE 1000\nAUTH PLAIN LOGIN\nAUTH=PLAIN", "size\nSIZE 99999999999999999999\nSIZE -1", "LIMITS RCPTMAX=100 MAILMAX=5 X=",
		"LIMITS RCPTMAX=1000000", "DELIVERBY 60\nDELIVERBY -1", "8BITMIME\nSMTPUTF8\nDSN\nSTARTTLS\nENHANCEDSTATUSCODES\nCHUNKING\nBINARYMIME\nREQUIRETLS\nMT-PRIORITY x", "\x00 \xff\n \n",
	} {
		f.Add(reply)
	}
	f.Fuzz(func(t *testing.T, reply string) {
		var as, lower Extensions
		for line := range strings.SplitSeq(reply, "\n") {
			as.add(line)
			lower.add(asciiLower(line))
		}
		if !reflect.DeepEqual(as, lower) {
			t.Errorf("%q: %+v, and in lower case %+v", reply, as, lower)
		}
		if as.MaxSize < 0 || as.MaxRecipients < 0 || as.MaxRecipients > 999_999 || as.MaxTransactions < 0 || as.MaxTransactions > 999_999 || as.MinDeliverBy < 0 {
			t.Errorf("%q: %+v", reply, as)
		}
		for _, name := range as.Names() {
			if strings.Contains(name, "\n") || name == "" {
				t.Errorf("%q is told as %q", reply, name)
			}
		}
	})
}

// asciiLower leaves alone what is not ASCII: only letters of ASCII have a case here.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
