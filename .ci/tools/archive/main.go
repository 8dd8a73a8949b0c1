// Command archive packs a directory, so that the same files make the same bytes:
//
//	archive -time SECONDS DIR FILE.tar.gz|FILE.zip
//
// The archive has the directory's name before each path. Every file has the time
// given, belongs to root, and has mode 0644, or 0755 if the owner may execute it.
package main

import (
	"archive/tar"
	"archive/zip"
	"compress/flate"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	seconds := flag.Int64("time", 0, "time of the files, in seconds since 1970")
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	if err := write(flag.Arg(0), flag.Arg(1), time.Unix(*seconds, 0).UTC()); err != nil {
		fmt.Fprintln(os.Stderr, "archive:", err)
		os.Exit(1)
	}
}

// A packer adds files to an archive.
type packer interface {
	add(name string, mode fs.FileMode, content []byte) error
	Close() error
}

func write(dir, to string, at time.Time) error {
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	defer file.Close()
	var p packer
	if strings.HasSuffix(to, ".zip") {
		p = newZip(file, at)
	} else if p, err = newTar(file, at); err != nil {
		return err
	}
	parent := filepath.Dir(filepath.Clean(dir))
	// WalkDir goes through names in their order.
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(parent, path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		return p.add(filepath.ToSlash(name), mode, content)
	})
	if err != nil {
		return err
	}
	if err := p.Close(); err != nil {
		return err
	}
	return file.Close()
}

type tarPacker struct {
	*tar.Writer
	gz *gzip.Writer
	at time.Time
}

func newTar(to io.Writer, at time.Time) (packer, error) {
	gz, err := gzip.NewWriterLevel(to, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	return tarPacker{tar.NewWriter(gz), gz, at}, nil
}

func (p tarPacker) add(name string, mode fs.FileMode, content []byte) error {
	err := p.WriteHeader(&tar.Header{
		Format: tar.FormatPAX, Typeflag: tar.TypeReg, Name: name, Mode: int64(mode), Size: int64(len(content)),
		ModTime: p.at, Uname: "root", Gname: "root",
	})
	if err != nil {
		return err
	}
	_, err = p.Write(content)
	return err
}

func (p tarPacker) Close() error {
	if err := p.Writer.Close(); err != nil {
		return err
	}
	return p.gz.Close()
}

type zipPacker struct {
	*zip.Writer
	at time.Time
}

func newZip(to io.Writer, at time.Time) packer {
	w := zip.NewWriter(to)
	w.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(out, flate.BestCompression)
	})
	return zipPacker{w, at}
}

func (p zipPacker) add(name string, mode fs.FileMode, content []byte) error {
	header := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: p.at}
	header.SetMode(mode)
	file, err := p.CreateHeader(header)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return err
}
