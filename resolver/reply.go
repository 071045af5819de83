package resolver

import (
	"errors"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	maxTTL         = 24 * time.Hour  // longest that any answer is remembered
	maxNegativeTTL = time.Hour       // longest that the absence of records is remembered
	failureTTL     = 5 * time.Second // how long a failure is; RFC 2308 §7.1 allows five minutes
	maxAliases     = 8               // aliases followed from one name
	maxRecords     = 100             // records of an answer looked at
)

// These replies say nothing about the name, so another server is asked.
var (
	errLame      = errors.New("lame: neither authority, nor recursion, nor an answer")
	errReferral  = errors.New("a referral to other servers")
	errUnrelated = errors.New("the answer is about another name or type")
	errEmptyData = errors.New("a record without data")
)

// rcodeError is a reply's code that is neither success nor NXDOMAIN.
type rcodeError int

// Error returns the code's mnemonic.
func (e rcodeError) Error() string {
	if s, ok := dns.RcodeToString[int(e)]; ok {
		return s
	}
	return "an unknown reply code"
}

// finding is what one reply says about a question.
type finding struct {
	name          string        // where the aliases in the reply lead; without any, the name asked
	aliases       int           // how many there were
	records       []dns.RR      // of the type asked, owned by name; at most maxRecords
	missing       bool          // NXDOMAIN: there is no such name
	ttl           time.Duration // how long this holds; 0: it must not be remembered
	authenticated bool          // a validating server vouches for it
}

// final reports whether the question is settled. Otherwise the reply gave only
// aliases, and what they lead to has still to be asked.
func (f finding) final() bool {
	return f.missing || len(f.records) > 0 || f.aliases == 0
}

// examine reads a reply to question q. An error means that the reply is of no
// use and says nothing about the name.
func examine(reply *dns.Msg, q question) (finding, error) {
	if err := usable(reply); err != nil {
		return finding{}, err
	}
	f := finding{name: q.name, ttl: maxTTL, missing: reply.Rcode == dns.RcodeNameError}
	// RFC 5321 §5.1: a name that is an alias is processed as if the name that it
	// stands for were the one given. One alias more than allowed is enough to tell.
	for f.aliases <= maxAliases {
		alias, err := f.collect(reply.Answer, q.qtype)
		if err != nil {
			return finding{}, err
		}
		if alias == nil || len(f.records) > 0 {
			break
		}
		f.name = strings.ToLower(strings.TrimSuffix(alias.Target, "."))
		f.aliases++
		f.limit(alias.Hdr.Ttl)
	}
	switch {
	case len(f.records) > 0:
		// NXDOMAIN with the records asked for contradicts itself: records exist.
		f.missing = false
	case f.aliases == 0 && len(reply.Answer) > 0 && !f.missing:
		return finding{}, errUnrelated
	case f.final():
		f.limitNegative(reply.Ns)
	}
	return f, nil
}

// usable tests whether a reply speaks about the name at all.
func usable(reply *dns.Msg) error {
	if reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError {
		return rcodeError(reply.Rcode)
	}
	if len(reply.Answer) > 0 || reply.Authoritative {
		return nil
	}
	if !reply.RecursionAvailable {
		return errLame
	}
	// RFC 2308 §2.2: name servers without a SOA record are a referral, not a
	// statement that there are no records.
	if reply.Rcode == dns.RcodeSuccess && has(reply.Ns, dns.TypeNS) && !has(reply.Ns, dns.TypeSOA) {
		return errReferral
	}
	return nil
}

func has(records []dns.RR, rrtype uint16) bool {
	for _, rr := range records {
		if rr != nil && rr.Header().Rrtype == rrtype {
			return true
		}
	}
	return false
}

// collect takes from answer the records of the type asked that the current name
// owns, and returns the alias that it owns instead.
func (f *finding) collect(answer []dns.RR, qtype uint16) (*dns.CNAME, error) {
	owner := dns.Fqdn(f.name)
	var alias *dns.CNAME
	for _, rr := range answer {
		if rr == nil || rr.Header().Class != dns.ClassINET || !strings.EqualFold(rr.Header().Name, owner) {
			continue
		}
		if noData(rr) {
			return nil, errEmptyData
		}
		if c, ok := rr.(*dns.CNAME); ok && alias == nil {
			alias = c
		}
		if rr.Header().Rrtype == qtype && len(f.records) < maxRecords {
			f.records = append(f.records, rr)
			f.limit(rr.Header().Ttl)
		}
	}
	return alias, nil
}

// noData reports whether a record of a type that we read came without its data,
// which the parser lets pass.
func noData(rr dns.RR) bool {
	switch rr := rr.(type) {
	case *dns.CNAME:
		return rr.Target == ""
	case *dns.MX:
		return rr.Mx == ""
	case *dns.A:
		return len(rr.A) == 0
	case *dns.AAAA:
		return len(rr.AAAA) == 0
	default:
		return false
	}
}

// limit lowers the time that the finding holds to a record's TTL in seconds.
func (f *finding) limit(ttl uint32) {
	// RFC 2181 §8: with the highest bit set it counts as zero.
	if ttl >= 1<<31 {
		ttl = 0
	}
	f.ttl = min(f.ttl, time.Duration(ttl)*time.Second)
}

// limitNegative lowers it to what the zone says about the absence of records.
func (f *finding) limitNegative(authority []dns.RR) {
	for _, rr := range authority {
		if soa, ok := rr.(*dns.SOA); ok {
			// RFC 2308 §5: the lesser of the SOA record's own TTL and its minimum.
			f.limit(soa.Hdr.Ttl)
			f.limit(soa.Minttl)
			f.ttl = min(f.ttl, maxNegativeTTL)
			return
		}
	}
	f.ttl = 0 // RFC 2308 §5: without a SOA record it should not be remembered
}
