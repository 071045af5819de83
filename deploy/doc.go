// Package deploy is what it takes to run waypost: container images, a compose
// file, a systemd unit, Prometheus' rules and Grafana dashboards. README.md
// beside this file is about operation, and has the runbook of every alert.
//
// There is no code here. The tests keep the files honest: every metric that a
// rule or a dashboard names is one that the program publishes, every setting
// exists, and every alert has its heading in the runbook. With the build tag
// "interop" they also ask the programs that read these files, promtool and
// systemd-analyze, and fail where those are not installed.
package deploy
