// Package sendmail is the command line of sendmail(8), as cron, PHP, git and
// mail(1) use it: it reads a message, completes its header section, and submits
// it to a server.
package sendmail
