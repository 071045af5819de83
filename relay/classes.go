package relay

import (
	"fmt"
	"time"

	"waypost/configs"
	"waypost/queue"
	"waypost/relay/policy"
	"waypost/relay/smtp"
)

// policyClasses are the rules that put messages into classes.
func policyClasses(c *configs.Config) policy.Classes {
	var all policy.Classes
	for i, one := range c.Classes {
		if one.Name == configs.ClassDefault {
			continue // what is left
		}
		all = append(all, policy.Class{
			Name: one.Name, Key: fmt.Sprintf("class[%d]", i), From: one.From, To: one.To, Logins: one.Logins,
			Networks: networks(one.Networks), Headers: one.Headers, MinPriority: one.MinPriority, MaxPriority: one.MaxPriority,
		})
	}
	return all
}

// reportClass sorts the reports that we write ourselves.
func reportClass(c *configs.Config) func(smtp.Path) (class, rule string) {
	all := policyClasses(c)
	return func(recipient smtp.Path) (class, rule string) {
		return all.Sort(&policy.Mail{Recipients: []smtp.Path{recipient}})
	}
}

// queueClasses say how classes are delivered. What a class does not say is as
// for all mail.
func queueClasses(c *configs.Config) []queue.Class {
	var all []queue.Class
	for _, one := range c.Classes {
		class := queue.Class{Name: one.Name, Rank: one.Rank, Share: one.Share, Retry: retryPolicy(c)}
		if len(one.Retry) > 0 {
			class.Retry.Intervals = intervals(one.Retry)
		}
		if one.Lifetime != 0 {
			class.Retry.Lifetime = time.Duration(one.Lifetime)
		}
		if one.WarnAfter != 0 {
			class.Retry.WarnAfter = time.Duration(one.WarnAfter)
		}
		all = append(all, class)
	}
	return all
}

func retryPolicy(c *configs.Config) queue.RetryPolicy {
	return queue.RetryPolicy{
		Intervals: intervals(c.Queue.Retry), Jitter: c.Queue.Jitter,
		Lifetime: time.Duration(c.Queue.Lifetime), WarnAfter: time.Duration(c.Queue.WarnAfter),
	}
}
