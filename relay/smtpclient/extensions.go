package smtpclient

import (
	"strconv"
	"strings"
	"time"
)

// Extensions is what a host offered in its last reply to EHLO. The zero value
// is a host that offers nothing, as after HELO.
type Extensions struct {
	// Pipelining: commands may be sent in groups (RFC 2920).
	Pipelining bool
	// EightBitMIME: octets over 127 may stand in content (RFC 6152).
	EightBitMIME bool
	// SMTPUTF8: paths and header fields may be UTF-8 (RFC 6531).
	SMTPUTF8 bool
	// DSN: RET, ENVID, NOTIFY and ORCPT are taken (RFC 3461). To a host
	// without it, reports of success are the sending side's to make.
	DSN bool
	// STARTTLS is offered (RFC 3207); never true under TLS.
	STARTTLS bool
	// EnhancedStatusCodes: replies carry enhanced codes (RFC 2034).
	EnhancedStatusCodes bool
	// Chunking: BDAT is taken (RFC 3030).
	Chunking bool
	// BinaryMIME: content with any octets and lines is taken (RFC 3030 §3).
	BinaryMIME bool
	// RequireTLS: mail that must not travel in clear is taken (RFC 8689).
	RequireTLS bool
	// Priority: MT-PRIORITY is taken (RFC 6710).
	Priority bool
	// DeliverBy: BY is taken (RFC 2852); MinDeliverBy is the least time to go
	// that a message to be returned may have; 0 when none is named.
	DeliverBy    bool
	MinDeliverBy time.Duration
	// Size: the size of a message may be declared (RFC 1870).
	Size bool
	// MaxSize is the largest message taken, in octets; 0 when none is named.
	MaxSize int64
	// MaxRecipients is the most RCPT commands taken in a transaction; 0 when
	// none is named (RFC 9422). The caller splits what is more.
	MaxRecipients int
	// MaxTransactions is the most transactions taken in a session; 0 when
	// none is named (RFC 9422). Reusable obeys it.
	MaxTransactions int
	// Auth has the SASL mechanisms offered, in upper case (RFC 4954).
	Auth []string
}

// Names returns the keywords of what is offered and known here, with the limits.
func (e *Extensions) Names() (all []string) {
	for _, one := range []struct {
		offered bool
		name    string
	}{
		{e.Pipelining, "PIPELINING"}, {e.EightBitMIME, "8BITMIME"}, {e.SMTPUTF8, "SMTPUTF8"}, {e.DSN, "DSN"}, {e.STARTTLS, "STARTTLS"},
		{e.EnhancedStatusCodes, "ENHANCEDSTATUSCODES"}, {e.Chunking, "CHUNKING"}, {e.BinaryMIME, "BINARYMIME"}, {e.RequireTLS, "REQUIRETLS"},
		{e.Priority, "MT-PRIORITY"}, {e.DeliverBy, "DELIVERBY"},
	} {
		if one.offered {
			all = append(all, one.name)
		}
	}
	if e.Size {
		all = append(all, strings.TrimSuffix("SIZE "+strconv.FormatInt(e.MaxSize, 10), " 0"))
	}
	if e.MaxRecipients > 0 {
		all = append(all, "LIMITS RCPTMAX="+strconv.Itoa(e.MaxRecipients))
	}
	if e.MaxTransactions > 0 {
		all = append(all, "LIMITS MAILMAX="+strconv.Itoa(e.MaxTransactions))
	}
	if len(e.Auth) > 0 {
		all = append(all, "AUTH "+strings.Join(e.Auth, " "))
	}
	return all
}

// add takes one line of the reply to EHLO after the first. Keywords are
// case-blind (RFC 5321 §4.1.1.1).
func (e *Extensions) add(line string) {
	keyword, args, _ := strings.Cut(strings.ToUpper(line), " ")
	// Some hosts still send the form that older clients asked for.
	if mechanisms, ok := strings.CutPrefix(keyword, "AUTH="); ok {
		keyword, args = "AUTH", mechanisms+" "+args
	}
	switch keyword {
	case "PIPELINING":
		e.Pipelining = true
	case "8BITMIME":
		e.EightBitMIME = true
	case "SMTPUTF8":
		e.SMTPUTF8 = true
	case "DSN":
		e.DSN = true
	case "STARTTLS":
		e.STARTTLS = true
	case "ENHANCEDSTATUSCODES":
		e.EnhancedStatusCodes = true
	case "CHUNKING":
		e.Chunking = true
	case "BINARYMIME":
		e.BinaryMIME = true
	case "REQUIRETLS":
		e.RequireTLS = true
	case "MT-PRIORITY":
		e.Priority = true
	case "DELIVERBY":
		e.DeliverBy = true
		if n, err := strconv.ParseUint(strings.TrimSpace(args), 10, 31); err == nil {
			e.MinDeliverBy = time.Duration(n) * time.Second
		}
	case "SIZE":
		e.Size = true
		// RFC 1870 §3: 0 or nothing names no limit, and neither does a
		// number beyond all sizes.
		if n, err := strconv.ParseInt(strings.TrimSpace(args), 10, 64); err == nil && n > 0 {
			e.MaxSize = n
		}
	case "AUTH":
		e.Auth = append(e.Auth, strings.Fields(args)...)
	case "LIMITS":
		e.addLimits(args)
	}
}

// addLimits: RFC 9422: unknown names are ignored, a value is 1 to 6
// digits, and a syntax error voids the whole line.
func (e *Extensions) addLimits(args string) {
	recipients, transactions := 0, 0
	for limit := range strings.FieldsSeq(args) {
		name, value, _ := strings.Cut(limit, "=")
		if name != "RCPTMAX" && name != "MAILMAX" {
			continue
		}
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil || len(value) > 6 || n == 0 {
			return
		}
		if name == "RCPTMAX" {
			recipients = int(n)
		} else {
			transactions = int(n)
		}
	}
	e.MaxRecipients, e.MaxTransactions = recipients, transactions
}
