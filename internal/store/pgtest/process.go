package pgtest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// children returns the processes whose parent is pid. PostgreSQL's have no
// children of their own.
func children(pid int) []int {
	var found []int
	for _, dir := range processDirs() {
		child, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if _, parent := readStat(child); parent == pid {
			found = append(found, child)
		}
	}
	return found
}

func processDirs() []string {
	// The pattern is well formed, the only thing Glob can object to.
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	return dirs
}

// running reports whether the process exists and has not ended.
func running(pid int) bool {
	state := processState(pid)
	return state != 0 && state != 'Z' && state != 'X'
}

// processState returns the letter that Linux gives the state of a process:
// T stopped, Z ended and not yet waited for; 0 if there is no such process.
func processState(pid int) byte {
	state, _ := readStat(pid)
	return state
}

func readStat(pid int) (state byte, parent int) {
	return readStatFile(fmt.Sprintf("/proc/%d/stat", pid))
}

// readStatFile reads the stat of a process or of a thread, "ID (NAME) STATE PARENT …".
// The name may hold spaces and parentheses: what counts follows the last one.
func readStatFile(name string) (state byte, parent int) {
	content, err := os.ReadFile(name)
	if err != nil {
		return 0, 0
	}
	_, rest, found := bytes.Cut(content[max(0, bytes.LastIndexByte(content, ')')):], []byte(") "))
	fields := bytes.Fields(rest)
	if !found || len(fields) < 2 {
		return 0, 0
	}
	parent, err = strconv.Atoi(string(fields[1]))
	if err != nil {
		return 0, 0
	}
	return fields[0][0], parent
}
