package configs

import (
	"regexp"
	"slices"
	"strings"
)

var (
	className  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	fieldName  = regexp.MustCompile(`^[!-9;-~]+$`) // RFC 5322 §3.6.8
	maxClasses = 50                                // each has metrics of its own
)

// classes checks the message classes.
func (v *validation) classes() {
	all := v.config.Classes
	if len(all) > maxClasses {
		v.fail(index("class", maxClasses), "there may be %d classes at most", maxClasses)
	}
	shares, taken := 0.0, -1 // the first class that takes everything
	for i, c := range all {
		path := index("class", i)
		v.className(path+".name", i)
		if taken >= 0 && c.Name != ClassDefault {
			v.warn(path+".name", "is never reached, because %s takes everything", index("class", taken))
		}
		if c.any() && c.Name != ClassDefault && taken < 0 {
			taken = i
		}
		v.classRules(path, c)
		v.classDelivery(path, c)
		if shares += c.Share; shares > 1 && shares-c.Share <= 1 {
			v.fail(path+".share", "with this, the shares of all classes are more than 1")
		}
	}
}

// any reports whether a class has no rules.
func (c *Class) any() bool {
	return len(c.From)+len(c.To)+len(c.Logins)+len(c.Networks)+len(c.Headers) == 0 && c.MinPriority <= -9 && c.MaxPriority >= 9
}

func (v *validation) className(path string, i int) {
	all := v.config.Classes
	name := all[i].Name
	switch first := slices.IndexFunc(all, func(c Class) bool { return c.Name == name }); {
	case name == "":
		v.fail(path, "must be set")
	case !className.MatchString(name):
		v.fail(path, "%q is not a name of up to 32 small letters, digits and hyphens", name)
	case first < i:
		v.fail(path, "%q is the name of %s already", name, index("class", first))
	case name == ClassDefault && !all[i].any():
		v.fail(path, "%q is the class of what no other matches, and has no rules of its own", name)
	}
}

// classRules checks what puts a message into a class.
func (v *validation) classRules(path string, c Class) {
	for i, text := range c.From {
		if text != "<>" {
			v.recipients(index(path+".from", i), text)
		}
	}
	for i, text := range c.To {
		v.recipients(index(path+".to", i), text)
	}
	for i, text := range c.Logins {
		if text == "" {
			v.fail(index(path+".logins", i), "must not be empty")
		}
	}
	for i, text := range c.Networks {
		v.network(index(path+".networks", i), text)
	}
	for i, text := range c.Headers {
		name, value, valued := strings.Cut(text, ":")
		if !fieldName.MatchString(name) || valued && strings.TrimSpace(value) == "" {
			v.fail(index(path+".headers", i), `%q is not a header field such as "List-Id" or "Precedence: bulk"`, text)
		}
	}
	v.within(path+".min_priority", c.MinPriority, -9, 9)
	v.within(path+".max_priority", c.MaxPriority, -9, 9)
	if c.MinPriority > c.MaxPriority {
		v.fail(path+".min_priority", "%d is more than max_priority, %d", c.MinPriority, c.MaxPriority)
	}
}

// classDelivery checks how a class is delivered.
func (v *validation) classDelivery(path string, c Class) {
	v.within(path+".rank", c.Rank, -100, 100)
	// Written so that it catches a value that is not a number, too.
	if !(c.Share >= 0 && c.Share <= 1) {
		v.fail(path+".share", "must be from 0 to 1, not %v", c.Share)
	}
	for i, wait := range c.Retry {
		atLeast(v, index(path+".retry", i), wait, second)
	}
	if c.Lifetime != 0 {
		atLeast(v, path+".lifetime", c.Lifetime, second)
	}
	atLeast(v, path+".warn_after", c.WarnAfter, 0)
	if lifetime, first := v.config.lifetime(c), v.config.firstRetry(c); lifetime > 0 && first >= lifetime {
		v.warn(path+".lifetime", "%v is over before the first retry, after %v", lifetime, first)
	}
}

func (c *Config) lifetime(class Class) Duration {
	if class.Lifetime != 0 {
		return class.Lifetime
	}
	return c.Queue.Lifetime
}

func (c *Config) firstRetry(class Class) Duration {
	for _, list := range [][]Duration{class.Retry, c.Queue.Retry} {
		if len(list) > 0 {
			return list[0]
		}
	}
	return 0
}

// knownClass checks the name of a class where it is used.
func (v *validation) knownClass(path, name string) {
	names := []string{ClassDefault}
	for _, c := range v.config.Classes {
		names = append(names, c.Name)
	}
	if name != "" && !slices.Contains(names, name) {
		v.suggest(path, nearest(name, names), "needs a [[class]] of the name %q", name)
	}
}

// within checks the bounds of a number.
func (v *validation) within(path string, n, least, most int) {
	if n < least || n > most {
		v.fail(path, "must be from %d to %d, not %d", least, most, n)
	}
}
