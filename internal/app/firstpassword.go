package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// firstPassword is where the password of the first account goes: to a terminal,
// where a person reads it, or else to a file, since output to a pipe ends up in
// logs.
type firstPassword struct {
	password string
	file     string // "" if it goes to the terminal
}

// keepPassword writes a password to a new file, unless it goes to a terminal, and returns
// the file as host:path.
func (a *App) keepPassword(terminal bool, into *firstPassword) func(password string) (string, error) {
	return func(password string) (string, error) {
		into.password = password
		if terminal {
			return "", nil
		}
		file, err := writePassword(a.passwordFile(), password)
		if err != nil {
			return "", err
		}
		into.file = file
		host, _ := os.Hostname() // a path alone says enough where there is no name
		return strings.TrimPrefix(host+":"+file, ":"), nil
	}
}

// passwordFile returns the name of the file: beside that of SQLite, or with
// PostgreSQL in the working directory.
func (a *App) passwordFile() string {
	path, ok := a.config.Database.SQLitePath()
	if !ok {
		path = "curfew"
	}
	return path + ".admin-password"
}

// writePassword writes a password to a new file that its owner alone may read, and
// returns its path. A file that exists is left alone: a number is added to the name.
func writePassword(path, password string) (string, error) {
	const maxFiles = 100
	path, err := filepath.Abs(path)
	var f *os.File
	for i := 1; err == nil && i <= maxFiles; i++ {
		name := path
		if i > 1 {
			name = fmt.Sprintf("%s.%d", path, i)
		}
		f, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- beside the database
		if err == nil {
			_, err = f.WriteString(password + "\n")
			if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
				return name, nil
			}
			err = errors.Join(err, os.Remove(name))
		} else if errors.Is(err, fs.ErrExist) && i < maxFiles {
			err = nil
		}
	}
	return "", fmt.Errorf("write its password to a file: %w; set CURFEW_ADMIN_PASSWORD or CURFEW_ADMIN_PASSWORD_FILE, or start on a terminal", err)
}

// tell logs where the password is, or removes it if no account was made with it.
func (a *App) tell(ctx context.Context, p firstPassword, made bool) error {
	switch {
	case p.file == "":
		return nil
	case !made:
		return os.Remove(p.file)
	}
	a.log.InfoContext(ctx, "the password of the account admin is in a file; sign in, change the password, and delete the file", "file", p.file)
	return nil
}
