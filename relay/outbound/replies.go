package outbound

import (
	"regexp"
	"strconv"
	"time"

	"waypost/queue"
	"waypost/relay/smtp"
)

// This file knows what temporary refusals mean for the next attempt, where
// hosts say more than that it is to be made later.

// replyRule is a kind of temporary refusal, told by its words.
type replyRule struct {
	text *regexp.Regexp
	wait time.Duration
	// tries is how many attempts are made by this rule before the usual
	// intervals go on: it was something else, then.
	tries int
}

// replyRules are tried in order; the first that matches counts.
var replyRules = []replyRule{
	// RFC 6647 §5: a host that puts off whom it does not know takes the second
	// attempt, some minutes later.
	{regexp.MustCompile(`(?i)gr[ae]y.?list|gr[ae]y listed|temporar(il)?y (deferred|rejected).{0,40}(unknown|first) `), 5 * time.Minute, 6},
	// A limit by the day is not lifted within the hour; one by the hour is.
	{regexp.MustCompile(`(?i)(dail(y|ies)|per day|24.?h).{0,60}(limit|quota|exceed)|(limit|quota|exceed).{0,60}(dail(y|ies)|per day|24.?h)`), time.Hour, 24},
	{regexp.MustCompile(`(?i)too (many|much) (connections|messages|mails?|recipients|requests)|rate.?limit|throttl|sending (limit|rate)|(limit|quota).{0,40}(per|hour|minute)`), 15 * time.Minute, 24},
}

// askedWait is a wait that a host names: "try again in 300 seconds".
var askedWait = regexp.MustCompile(`(?i)(?:again|retry|come back|resend|wait).{0,24}?\b(\d{1,5})\s*(s|sec|seconds?|m|min|minutes?|h|hours?)\b`)

// Bounds of a wait that a host asks for.
const (
	minAsked = time.Minute
	maxAsked = 4 * time.Hour
)

// retryAfter returns how long to wait with the next attempt when every recipient
// that is deferred was deferred by a reply that says so: the longest of these
// waits. Zero leaves it to the usual intervals.
func retryAfter(results []queue.Result, attempts int) time.Duration {
	var longest time.Duration
	for i := range results {
		if results[i].State != queue.Deferred {
			continue
		}
		wait := replyWait(results[i].Reply, attempts)
		if wait == 0 {
			return 0
		}
		longest = max(longest, wait)
	}
	return longest
}

// replyWait returns the wait that one reply asks for; 0 when it asks for none.
func replyWait(r smtp.Reply, attempts int) time.Duration {
	if r.Code < 400 || r.Code >= 500 {
		return 0
	}
	text := r.String()
	for _, rule := range replyRules {
		if !rule.text.MatchString(text) {
			continue
		}
		if attempts >= rule.tries {
			return 0
		}
		if asked := asked(text); asked > 0 {
			return asked
		}
		return rule.wait
	}
	return 0
}

func asked(text string) time.Duration {
	m := askedWait.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil || n == 0 {
		return 0
	}
	unit := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour}[m[2][0]|0x20]
	return min(max(time.Duration(n)*unit, minAsked), maxAsked)
}
