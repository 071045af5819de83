package deploy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"waypost/metrics"
)

const (
	composeFile    = "compose/compose.yaml"
	dashboardFiles = "grafana/dashboards/*.json"
	datasourceFile = "grafana/provisioning/datasources/prometheus.yaml"
	dockerFile     = "docker/Dockerfile"
	rulesFile      = "prometheus/rules/waypost.rules.yml"
	rulesTestFile  = "prometheus/rules/waypost.test.yml"
	socketFile     = "systemd/waypost.socket"
	unitFile       = "systemd/waypost.service"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// submatches are all matches of the first group of a pattern.
func submatches(pattern, text string) []string {
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}

// published are the names that the program publishes, as they stand on the page,
// with the names of their labels.
func published(t *testing.T) map[string][]string {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	m := metrics.New(reg)
	m.AddClass("default")
	m.AddReplyRule("greylisting")
	m.PaceWindow.WithLabelValues("example")
	m.PaceAttempts.WithLabelValues("example")
	m.WatchQueue(func() metrics.QueueStats {
		return metrics.QueueStats{Classes: []metrics.ClassStats{{Name: "default"}}}
	})
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string][]string{}
	for _, family := range families {
		var labels []string
		for _, pair := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, pair.GetName())
		}
		if family.GetMetric()[0].GetHistogram() == nil {
			names[family.GetName()] = labels
			continue
		}
		names[family.GetName()+"_bucket"] = append(labels, "le")
		names[family.GetName()+"_sum"] = labels
		names[family.GetName()+"_count"] = labels
	}
	return names
}

// checkExpression checks every metric of ours in an expression, and that what it
// is grouped by are its labels or Prometheus' own.
func checkExpression(t *testing.T, where, expr string, names map[string][]string) {
	t.Helper()
	var labels []string
	// What follows a colon is part of the name of a recording rule.
	for _, name := range submatches(`(?:^|[^a-z_:])((?:waypost|go|process)_[a-z_]+)\b`, expr) {
		known, ok := names[name]
		if !ok {
			t.Errorf("%s: %s is not published", where, name)
		}
		labels = append(labels, known...)
	}
	if len(labels) == 0 && strings.Contains(expr, ":waypost_") {
		return
	}
	var used []string
	for _, group := range submatches(`\bby \(([^)]*)\)`, expr) {
		used = append(used, strings.Split(group, ", ")...)
	}
	used = append(used, submatches(`[{,] ?([a-z_]+)=`, expr)...)
	for _, label := range used {
		if label != "job" && label != "instance" && !slices.Contains(labels, label) {
			t.Errorf("%s: no metric in it has the label %q: %s", where, label, expr)
		}
	}
}

// panel is what the tests look at in a dashboard's panel.
type panel struct {
	ID          int
	Type        string
	Title       string
	Description string
	Datasource  datasource
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct {
		Defaults struct{ Unit string }
	}
	Targets []struct {
		Datasource datasource
		Expr       string
	}
}

type datasource struct{ Type, UID string }

// dashboards are the panels of each dashboard, by its file.
func dashboards(t *testing.T) map[string][]panel {
	t.Helper()
	files, err := filepath.Glob(dashboardFiles)
	if err != nil {
		t.Fatal(err)
	}
	all, uids := map[string][]panel{}, map[string]string{}
	for _, file := range files {
		var board struct {
			UID, Title string
			Tags       []string
			Panels     []panel
		}
		if err := json.Unmarshal([]byte(read(t, file)), &board); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		// They link to each other by the tag.
		if !strings.HasPrefix(board.UID, "waypost") || !strings.HasPrefix(board.Title, "waypost: ") || !slices.Contains(board.Tags, "waypost") || len(board.Panels) < 9 {
			t.Errorf("%s: uid %q, title %q, tags %q and %d panels", file, board.UID, board.Title, board.Tags, len(board.Panels))
		}
		if other, taken := uids[board.UID]; taken {
			t.Errorf("%s has the uid of %s", file, other)
		}
		all[file], uids[board.UID] = board.Panels, file
	}
	if len(all) < 4 {
		t.Fatalf("%d dashboards; have they been read?", len(all))
	}
	return all
}

func TestDashboards(t *testing.T) {
	names := published(t)
	uids := submatches(`(?m)^    uid: (\S+)$`, read(t, datasourceFile))
	if len(uids) != 1 {
		t.Fatalf("%s: uids %q, want one", datasourceFile, uids)
	}
	source := datasource{Type: "prometheus", UID: uids[0]}
	for file, panels := range dashboards(t) {
		for _, p := range panels {
			if p.Type == "row" {
				continue
			}
			if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || p.Datasource != source || len(p.Targets) == 0 {
				t.Errorf("%s: panel %d (%s) lacks a title, a description, a unit, its source or a query", file, p.ID, p.Title)
			}
			for _, target := range p.Targets {
				if target.Datasource != source {
					t.Errorf("%s: panel %q asks %+v, want %+v", file, p.Title, target.Datasource, source)
				}
				checkExpression(t, file+", panel "+p.Title, target.Expr, names)
			}
		}
	}
}

// TestDashboardsShowEveryMetric has a new metric find its place on one of them.
func TestDashboardsShowEveryMetric(t *testing.T) {
	var text string
	for file := range dashboards(t) {
		text += read(t, file)
	}
	for name := range published(t) {
		name = regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		if strings.HasPrefix(name, "waypost_") && !strings.Contains(text, name) {
			t.Errorf("no dashboard shows %s", name)
		}
	}
}

func TestPanelsDoNotOverlap(t *testing.T) {
	for file, panels := range dashboards(t) {
		taken := map[[2]int]string{}
		ids := map[int]bool{}
		for _, p := range panels {
			if ids[p.ID] {
				t.Errorf("%s: two panels have the number %d", file, p.ID)
			}
			ids[p.ID] = true
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other, ok := taken[[2]int{x, y}]; ok {
						t.Fatalf("%s: panels %q and %q overlap", file, other, p.Title)
					}
					if x >= 24 {
						t.Fatalf("%s: panel %q is wider than the dashboard", file, p.Title)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
		}
	}
}

func TestRules(t *testing.T) {
	text := read(t, rulesFile)
	names := published(t)
	rules := regexp.MustCompile(`(?m)^      - `).Split(text, -1)[1:]
	records := submatches(`(?m)^      - record: (\S+)$`, text)
	for _, rule := range rules {
		name, body, _ := strings.Cut(rule, "\n")
		_, expr, ok := strings.Cut(body, "expr: ")
		if !ok {
			t.Errorf("%s has no expression", name)
		}
		expr, _, _ = strings.Cut(expr, "\n        for:")
		expr, _, _ = strings.Cut(expr, "\n      # ")
		checkExpression(t, name, expr, names)
		for _, record := range submatches(`(instance:[a-z0-9_:]+)`, expr) {
			if !slices.Contains(records, record) {
				t.Errorf("%s uses %s, which no rule records", name, record)
			}
		}
	}
	if len(rules) < 10 || len(records) < 4 {
		t.Errorf("%d rules, %d of them recording; have they been read?", len(rules), len(records))
	}
}

// TestEveryAlertHasARunbookAndATest follows each alert to both.
func TestEveryAlertHasARunbookAndATest(t *testing.T) {
	rules, tests, readme := read(t, rulesFile), read(t, rulesTestFile), read(t, "README.md")
	alerts := submatches(`(?m)^      - alert: (\S+)$`, rules)
	for _, alert := range alerts {
		if want := "runbook: deploy/README.md#" + strings.ToLower(alert) + "\n"; strings.Count(rules, want) != 1 {
			t.Errorf("the rules lack %q", want)
		}
		if !strings.Contains(readme, "\n### "+alert+"\n") {
			t.Errorf("README.md has no runbook for %s", alert)
		}
		if !strings.Contains(tests, "alertname: "+alert+"\n        exp_alerts:\n          - ") {
			t.Errorf("no test has %s fire", alert)
		}
	}
	if len(alerts) < 10 {
		t.Errorf("alerts %q; have they been read?", alerts)
	}
	_, runbook, _ := strings.Cut(readme, "\n## Runbook\n")
	for _, heading := range submatches(`(?m)^### (\S+)$`, runbook) {
		if !slices.Contains(alerts, heading) {
			t.Errorf("README.md has a runbook for %s, which is no alert", heading)
		}
	}
}

// TestMentionedSettingsExist takes every variable of ours that a file here sets
// or mentions to the list of all.
func TestMentionedSettingsExist(t *testing.T) {
	known := append(submatches("(?m)^- Environment: `([A-Z0-9_]+)`$", read(t, "../configs/README.md")), "WAYPOST_CONFIG")
	for _, name := range []string{composeFile, dockerFile, unitFile, "README.md"} {
		for _, variable := range submatches(`\b(WAYPOST_[A-Z0-9_]+)\b`, read(t, name)) {
			if !slices.Contains(known, variable) {
				t.Errorf("%s: there is no setting %s", name, variable)
			}
		}
	}
}

// TestLogIsAsDocumented takes every line of the log that programs may rely on to
// where it is written.
func TestLogIsAsDocumented(t *testing.T) {
	var sources []string
	for _, pattern := range []string{"../relay/*/*.go", "../relay/*.go", "../queue/*.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if !strings.HasSuffix(name, "_test.go") {
				sources = append(sources, read(t, name))
			}
		}
	}
	const near = 1500 // octets, within which the keys of a line stand
	rows := regexp.MustCompile("(?m)^\\| `([^`|]+)` \\| (info|warn|error|debug) \\| ([^:|]+)").FindAllStringSubmatch(read(t, "README.md"), -1)
	if len(rows) < 10 {
		t.Fatalf("%d lines of the log are documented", len(rows))
	}
	for _, row := range rows {
		keys := submatches("`([a-z_]+)`", row[3])
		written := func(source string) bool {
			for _, at := range regexp.MustCompile(`\((?:[a-zA-Z.() ]+, level, )?"`+regexp.QuoteMeta(row[1])+`", "`).FindAllStringIndex(source, -1) {
				window := source[max(at[0]-near, 0):min(at[1]+near, len(source))]
				if !slices.ContainsFunc(keys, func(key string) bool { return !strings.Contains(window, `"`+key+`"`) }) {
					return true
				}
			}
			return false
		}
		if !slices.ContainsFunc(sources, written) {
			t.Errorf("nothing writes %q with the keys %q", row[1], keys)
		}
	}
}

func TestComposeFile(t *testing.T) {
	text := read(t, composeFile)
	if strings.Contains(text, "\t") {
		t.Error("YAML has no tabs")
	}
	ports := submatches(`(?m)^      - "([0-9.:]+)"$`, text)
	for _, port := range ports {
		if !strings.HasPrefix(port, "127.0.0.1:") {
			t.Errorf("%s is open to other hosts", port)
		}
	}
	if len(ports) != 3 {
		t.Errorf("ports %q, want three", ports)
	}
	mounts := submatches(`(?m)^      - (\.\./[^:]+):`, text)
	for _, path := range append(mounts, "../..", "../../deploy/docker/Dockerfile") {
		if _, err := os.Stat(filepath.Join("compose", path)); err != nil {
			t.Errorf("a mount or build path does not exist: %v", err)
		}
	}
	if len(mounts) != 5 {
		t.Errorf("mounts %q, want five", mounts)
	}
	subnets := submatches(`(?m)^        - subnet: (\S+)$`, text)
	networks := submatches(`(?m)^      WAYPOST_RELAY_NETWORKS: (\S+)$`, text)
	if len(subnets) != 1 || len(networks) != 1 || networks[0] != "127.0.0.0/8,::1/128,"+subnets[0] {
		t.Errorf("waypost trusts %q, want loopback and the subnet %q", networks, subnets)
	}
	if want := "targets:\n          - waypost:9025\n"; !strings.Contains(read(t, "prometheus/prometheus.yml"), want) || !strings.Contains(text, "WAYPOST_METRICS_ADDRESS: 0.0.0.0:9025\n") {
		t.Error("Prometheus does not ask where waypost answers")
	}
}

// TestImagesAreAlike has both ways to build the image differ in nothing but
// where its files come from.
func TestImagesAreAlike(t *testing.T) {
	stages := map[string][]string{}
	var stage string
	for line := range strings.Lines(read(t, dockerFile)) {
		line = strings.TrimSpace(line)
		if from, name, ok := strings.Cut(line, " AS "); ok && strings.HasPrefix(from, "FROM ") {
			stage = name
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		line = strings.ReplaceAll(line, " AS "+stage, "")
		line = regexp.MustCompile(`^(COPY )(?:--from=build )?((?:--chown=\S+ )?)\S+( \S+)$`).ReplaceAllString(line, "$1$2…$3")
		stages[stage] = append(stages[stage], line)
	}
	if !slices.Equal(stages["prebuilt"], stages["waypost"]) || stage != "waypost" {
		t.Errorf("the stages prebuilt and waypost, which must be the last, differ:\n%q\n%q", stages["prebuilt"], stages["waypost"])
	}
	for _, want := range []string{"FROM scratch", "USER 65532:65532", "VOLUME /var/lib/waypost", "EXPOSE 2525 9025", "STOPSIGNAL SIGTERM"} {
		if !slices.Contains(stages["waypost"], want) {
			t.Errorf("the image lacks %q", want)
		}
	}
	build := strings.Join(stages["build"], "\n")
	if !strings.Contains(build, "CGO_ENABLED=0 go build -trimpath") {
		t.Errorf("the program is not built static and without paths:\n%s", build)
	}
}

// L-06: no root, and no way to it.
func TestUnit(t *testing.T) {
	lines := strings.Split(read(t, unitFile), "\n")
	for _, want := range []string{
		"Type=notify", "WatchdogSec=60", "Restart=on-failure", "RestartPreventExitStatus=65 77 78", "TimeoutStopSec=90", "DynamicUser=yes", "StateDirectory=waypost",
		"AmbientCapabilities=CAP_NET_BIND_SERVICE", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "NoNewPrivileges=yes", "ProtectSystem=strict",
		"MemoryDenyWriteExecute=yes", "SystemCallFilter=@system-service",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("the unit lacks %s", want)
		}
	}
}

// TestLinksOfTheReadme follows the links to files and to headings.
func TestLinksOfTheReadme(t *testing.T) {
	text := read(t, "README.md")
	var anchors []string
	for _, heading := range submatches(`(?m)^#+ (.+)$`, text) {
		plain := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(heading), "")
		anchors = append(anchors, strings.ReplaceAll(plain, " ", "-"))
	}
	links := submatches(`\]\(([^)]+)\)`, text)
	for _, link := range links {
		if anchor, ok := strings.CutPrefix(link, "#"); ok {
			if !slices.Contains(anchors, anchor) {
				t.Errorf("no heading has the anchor %q", link)
			}
			continue
		}
		if strings.HasPrefix(link, "http://127.0.0.1:") {
			continue
		}
		if _, err := os.Stat(link); err != nil {
			t.Errorf("a link leads nowhere: %v", err)
		}
	}
	if len(links) < 10 {
		t.Errorf("links %q; have they been read?", links)
	}
}
