package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"sync"
	"time"

	"example.com/curfew/internal/inbound"
)

//go:embed assets
var assetFiles embed.FS

// An asset is a file that pages load.
type asset struct {
	content []byte
	gzipped []byte
	kind    string // media type
	version string // from the content
}

// assets are the style sheet, the script and the icon, by name.
type assets map[string]asset

var assetKinds = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// loadAssets returns the files, and reads and compresses them once.
var loadAssets = sync.OnceValues(func() (assets, error) {
	all := assets{}
	entries, err := fs.ReadDir(assetFiles, "assets")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		content, err := assetFiles.ReadFile("assets/" + e.Name())
		if err != nil {
			return nil, err
		}
		kind, ok := assetKinds[path.Ext(e.Name())]
		if !ok {
			return nil, fmt.Errorf("console: no media type for %s", e.Name())
		}
		sum := sha256.Sum256(content)
		all[e.Name()] = asset{content, gzipped(content), kind, base64.RawURLEncoding.EncodeToString(sum[:9])}
	}
	return all, nil
})

// address returns where a page finds an asset. The version in it changes with the
// content, so that browsers may cache a file forever.
func (a assets) address(name string) (string, error) {
	found, ok := a[name]
	if !ok {
		return "", fmt.Errorf("no asset is called %q", name)
	}
	return "/assets/" + name + "?v=" + found.version, nil
}

// ServeHTTP answers GET /assets/{name}. A file that is asked for in another version
// than ours is not cached: while a new release is rolled out, the page may come
// from one node and its style sheet from another.
func (a assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found, ok := a[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", found.kind)
	if r.URL.Query().Get("v") == found.version {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Header().Set("Vary", "Accept-Encoding")
	content := found.content
	if inbound.AcceptsGzip(r.Header) {
		w.Header().Set("Content-Encoding", "gzip")
		content = found.gzipped
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

func gzipped(content []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	_, _ = w.Write(content) // a buffer takes all
	_ = w.Close()
	return b.Bytes()
}
