package resolver

import (
	"errors"
	"fmt"
)

// Kind classifies why a look-up gave no host or no address. The zero value is
// [Temporary]: what is unknown is tried again.
type Kind int

const (
	// Temporary: no server gave a usable reply (a time-out, SERVFAIL, REFUSED, a
	// lame or malformed reply), or the look-up was cancelled. 4.4.3.
	Temporary Kind = iota
	// CNAMELoop: the name is an alias that leads in a circle, or over more steps
	// than are followed. It is temporary, as somebody can mend it. 4.4.3.
	CNAMELoop
	// NoSuchDomain: the name does not exist (NXDOMAIN). Permanent, 5.1.2.
	NoSuchDomain
	// NullMX: the domain says that it takes no mail (RFC 7505). Permanent, 5.1.10.
	NullMX
	// Loop: we are the best host for the domain, so that delivery would come back
	// to us. Permanent, 5.4.6.
	Loop
	// NoAddress: the name exists and has no address, or none of its mail hosts
	// is usable. Permanent, 5.4.4.
	NoAddress
	// BadName: the text is no domain name, and no query was sent. Permanent, 5.1.2.
	BadName
)

// String returns the kind in words, as they stand in an error's text.
func (k Kind) String() string {
	switch k {
	case CNAMELoop:
		return "too many aliases"
	case NoSuchDomain:
		return "no such domain"
	case NullMX:
		return "the domain takes no mail (null MX)"
	case Loop:
		return "mail for the domain loops back to us"
	case NoAddress:
		return "no usable address"
	case BadName:
		return "not a domain name"
	default:
		return "temporary failure"
	}
}

// enhanced returns the enhanced status code of the kind (RFC 3463 §3, RFC 7505 §6).
func (k Kind) enhanced() [3]int {
	switch k {
	case NoSuchDomain, BadName:
		return [3]int{5, 1, 2}
	case NullMX:
		return [3]int{5, 1, 10}
	case Loop:
		return [3]int{5, 4, 6}
	case NoAddress:
		return [3]int{5, 4, 4}
	default:
		return [3]int{4, 4, 3}
	}
}

// Error is the error of every look-up that gave nothing. It may be shared
// between callers, so it must not be changed.
type Error struct {
	// Kind is why there is no answer.
	Kind Kind
	// Name is the name that was looked up.
	Name string
	// Type is the record type that was asked for, such as "MX" or "TLSA", or empty
	// when the failure is not one of a single type.
	Type string
	// Enhanced is the enhanced status code (RFC 3463) that tells a sender about it.
	Enhanced [3]int
	// Err is the cause, or nil when Kind says all.
	Err error
}

// Error returns what was looked up, the kind of failure and the cause.
func (e *Error) Error() string {
	what := e.Name
	if e.Type != "" {
		what = e.Type + " of " + e.Name
	}
	if e.Err != nil {
		return fmt.Sprintf("look up %s: %v: %v", what, e.Kind, e.Err)
	}
	return fmt.Sprintf("look up %s: %v", what, e.Kind)
}

// Unwrap returns the cause, which may be nil.
func (e *Error) Unwrap() error { return e.Err }

// Permanent reports whether trying again later is useless.
func (e *Error) Permanent() bool {
	switch e.Kind {
	case NoSuchDomain, NullMX, Loop, NoAddress, BadName:
		return true
	default:
		return false
	}
}

func newError(kind Kind, name, qtype string, cause error) *Error {
	return &Error{Kind: kind, Name: name, Type: qtype, Enhanced: kind.enhanced(), Err: cause}
}

// NoneUsable returns the one error that stands for a domain when the look-up of
// each of its hosts failed: permanent (NoAddress) only when every one of errs is
// an [Error] that is permanent, otherwise temporary. The first error that
// decides it becomes the cause. No errors at all, of a domain without hosts, is
// permanent.
//
// The addresses of hosts are looked up one by one, as late as possible, so it is
// the caller who comes to know that none is left.
func NoneUsable(domain string, errs ...error) *Error {
	for _, err := range errs {
		var e *Error
		if !errors.As(err, &e) || !e.Permanent() {
			return newError(Temporary, domain, "", err)
		}
	}
	// RFC 5321 §5.1: MX records of which none is usable are an error; the
	// domain's own address is no substitute.
	if len(errs) > 0 {
		return newError(NoAddress, domain, "", errs[0])
	}
	return newError(NoAddress, domain, "", nil)
}
