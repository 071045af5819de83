package configs

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

var (
	// refusalCode is a refusal's reply code or enhanced code, with x for any.
	refusalCode = regexp.MustCompile(`^[45][0-9x]{2}$|^[45]\.([0-9]{1,3}|x)\.([0-9]{1,3}|x)$`)
	maxReplies  = 100 // each has metrics of its own
)

// replies checks the rules about refusals.
func (v *validation) replies() {
	all := v.config.Replies
	if len(all) > maxReplies {
		v.fail(index("reply", maxReplies), "there may be %d rules at most", maxReplies)
	}
	taken := -1 // the first rule that takes everything
	for i, r := range all {
		path := index("reply", i)
		if taken >= 0 {
			v.warn(path+".name", "is never reached, because %s takes everything", index("reply", taken))
		} else if r.any() {
			taken = i
		}
		v.replyName(path+".name", i)
		v.domainsBelow(path+".to", r.To)
		v.hosts(path+".hosts", r.Hosts)
		for at, code := range r.Code {
			if !refusalCode.MatchString(code) {
				v.fail(index(path+".code", at), `%q is not a refusal's code such as "450", "4xx", "4.7.1" or "5.7.x"`, code)
			}
		}
		if _, err := regexp.Compile(r.Text); err != nil {
			v.fail(path+".text", "%q is not a regular expression: %v", r.Text, err)
		}
		v.replyEffects(path, r)
	}
}

// any reports whether a rule has no conditions.
func (r *Reply) any() bool { return len(r.To)+len(r.Hosts)+len(r.Code)+len(r.Text) == 0 }

func (v *validation) replyName(path string, i int) {
	name := v.config.Replies[i].Name
	switch first := slices.IndexFunc(v.config.Replies, func(r Reply) bool { return r.Name == name }); {
	case name == "":
		v.fail(path, "must be set")
	case !className.MatchString(name):
		v.fail(path, "%q is not a name of up to 32 small letters, digits and hyphens", name)
	case first < i:
		v.fail(path, "%q is the name of %s already", name, index("reply", first))
	}
}

// domainsBelow checks domains of which some stand for everything below, too.
func (v *validation) domainsBelow(path string, all []string) {
	for i, text := range all {
		v.domain(index(path, i), text, strings.TrimPrefix(text, "."))
	}
}

// hosts checks names of hosts, which may be addresses, too.
func (v *validation) hosts(path string, all []string) {
	for i, text := range all {
		if _, err := netip.ParseAddr(text); err != nil {
			v.domain(index(path, i), text, strings.TrimPrefix(text, "."))
		}
	}
}

// replyEffects checks what a rule does.
func (v *validation) replyEffects(path string, r Reply) {
	if r.Action != "" {
		v.oneOf(path+".action", r.Action, ActionDefer, ActionBounce, ActionNextLeg)
	}
	if r.RetryAfter != 0 {
		atLeast(v, path+".retry_after", r.RetryAfter, second)
	}
	if r.Pause != 0 {
		atLeast(v, path+".pause", r.Pause, second)
	}
	atLeast(v, path+".retries", r.Retries, 0)
	switch {
	case r.Action == ActionBounce && r.RetryAfter > 0:
		v.fail(path+".retry_after", "contradicts action %q", r.Action)
	case r.Retries > 0 && r.RetryAfter == 0:
		v.fail(path+".retries", "needs retry_after")
	}
}
