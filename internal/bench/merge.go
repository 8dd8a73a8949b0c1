package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// update puts the results of a run of some sections into RESULTS.md in place of
// their former results, and writes their plots.
func (b *bench) update(dir string) error {
	if err := b.draw(dir); err != nil {
		return err
	}
	file := filepath.Join(dir, "RESULTS.md")
	old, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("%w; a run of all sections writes it first, or -out '' only prints", err)
	}
	b.say("updating RESULTS.md and writing %d plots", len(b.report.plots))
	return os.WriteFile(file, []byte(b.report.merge(string(old), b.origin())), 0o644)
}

var goalsTitle = regexp.MustCompile(`(?m)^## Goals: \d+ of \d+ reached$`)

// merge returns the text of old results with the goals, tables and plots of r in
// place of their former versions, or added. Each table says its origin.
func (r *report) merge(old, origin string) string {
	text := old
	seen := map[string]int{}
	for _, g := range r.goals {
		text = replaceGoal(text, g, seen[g.what])
		seen[g.what]++
	}
	goals := strings.Split(goalsBlock(text), "\n")
	reached, all := 0, 0
	for _, line := range goals {
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| |") {
			all++
			if strings.Contains(line, " | reached | ") {
				reached++
			}
		}
	}
	text = goalsTitle.ReplaceAllLiteralString(text, fmt.Sprintf("## Goals: %d of %d reached", reached, all))
	for _, p := range r.plots {
		if image := "\n" + p.image(); !strings.Contains(text, image) {
			text = insertAt(text, "\n## ", 1, image) // behind the goals
		}
	}
	for _, x := range r.tables {
		x.text = strings.TrimSpace(x.text + " " + origin)
		title := "\n## " + x.title + "\n"
		at := strings.Index(text, title)
		if at < 0 {
			text = insertAt(text, "\n## Versions\n", 0, x.String())
			continue
		}
		end := len(text)
		if next := strings.Index(text[at+len(title):], "\n## "); next >= 0 {
			end = at + len(title) + next
		}
		text = text[:at] + x.String() + text[end:]
	}
	return text
}

// goalsBlock returns the part of text from the title of the goals to the next title.
func goalsBlock(text string) string {
	at := goalsTitle.FindStringIndex(text)
	if at == nil {
		return ""
	}
	block := text[at[0]:]
	if end := strings.Index(block[1:], "\n## "); end >= 0 {
		block = block[:end+1]
	}
	return block
}

// replaceGoal puts g into the row of the nth goal with its name, or behind the last
// row.
func replaceGoal(text string, g goal, nth int) string {
	block := goalsBlock(text)
	lines := strings.Split(block, "\n")
	last := 0
	for i, line := range lines {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		last = i
		if !strings.HasPrefix(line, "| "+g.what+" | ") {
			continue
		}
		if nth--; nth < 0 {
			lines[i] = g.String()
			return strings.Replace(text, block, strings.Join(lines, "\n"), 1)
		}
	}
	lines = append(lines[:last+1], append([]string{g.String()}, lines[last+1:]...)...)
	return strings.Replace(text, block, strings.Join(lines, "\n"), 1)
}

// insertAt puts part before the nth occurrence of before, counted from 0, or at the
// end of text if there are fewer.
func insertAt(text, before string, nth int, part string) string {
	at := 0
	for {
		next := strings.Index(text[at:], before)
		if next < 0 {
			return text + part
		}
		at += next
		if nth == 0 {
			return text[:at] + part + text[at:]
		}
		nth--
		at += len(before)
	}
}
