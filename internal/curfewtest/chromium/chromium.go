// Package chromium starts the browser of the tests that need one.
package chromium

import (
	"context"
	"errors"
	"os/exec"
	"sync"

	"github.com/chromedp/chromedp"
)

// Browser is the browser of a test process. It starts when the first tab is opened.
// The zero value is ready.
type Browser struct {
	once   sync.Once
	window context.Context //nolint:containedctx // the browser's, and ends with it
	cancel context.CancelFunc
	err    error
}

// Tab returns the context of a new tab, whose cookies are its own, and a function
// that closes it. profile is called once and returns the directory for the
// browser's files.
func (b *Browser) Tab(profile func() (string, error), flags ...chromedp.ExecAllocatorOption) (context.Context, context.CancelFunc, error) {
	b.once.Do(func() { b.err = b.start(profile, flags) })
	if b.err != nil {
		return nil, nil, b.err
	}
	ctx, cancel := chromedp.NewContext(b.window, chromedp.WithNewBrowserContext())
	return ctx, cancel, nil
}

func (b *Browser) start(profile func() (string, error), flags []chromedp.ExecAllocatorOption) error {
	program, err := find()
	if err != nil {
		return err
	}
	dir, err := profile()
	if err != nil {
		return err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.UserDataDir(dir), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("no-proxy-server", true))
	allocator, endAllocator := chromedp.NewExecAllocator(context.Background(), append(options, flags...)...)
	window, closeWindow := chromedp.NewContext(allocator)
	b.window, b.cancel = window, func() { closeWindow(); endAllocator() }
	return chromedp.Do(window)
}

// find returns the path of the browser. The headless shell is the same engine
// without a desktop's browser around it, and uses half the processor time.
func find() (string, error) {
	for _, name := range []string{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("these tests drive a browser: install chromium-headless-shell (make deps does)")
}

// Close closes the browser if it was started.
func (b *Browser) Close() {
	if b.cancel != nil {
		b.cancel()
	}
}
