//go:build screenshots

package console_test

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/png"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// settled replaces what differs each time in a picture: times, IDs and durations.
const settled = `(() => {
	for (const t of document.querySelectorAll("tr.session time")) {
		const remembered = t.closest("tr").innerText.includes("Remember me");
		t.textContent = t.closest("td").dataset.label !== "Expires" ? "2 minutes ago" : remembered ? "in 20 days" : "in 18 minutes";
	}
	for (const t of document.querySelectorAll(".identity time")) t.textContent = "2 minutes ago";
	const exact = "29 November 2026 at 09:30:00";
	for (const t of document.querySelectorAll(".receipt time")) t.textContent = exact + ("micro" in t.dataset ? ".041693" : "") + " UTC";
	const holds = document.querySelector(".receipt .holds");
	for (const text of holds.childNodes) if (text.nodeType === 3) text.data = text.data.replace(/, \S+ \S+ after the commit/, ", 2 ms after the commit");
	for (const t of document.querySelectorAll(".receipt dt")) if (t.textContent === "Epoch") t.nextElementSibling.textContent = "1795944600041693";
	document.getElementById("user-id").textContent = "NnQngc32yDDC9v3jtQ4zYQ";
})()`

// TestPicture makes the picture in the README: the same one each time, until the page
// changes: make picture.
func TestPicture(t *testing.T) {
	h := newFilledServer(t)
	w := h.open(t, look{width: 1280, height: 850})
	w.as("admin")
	call(w, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Etc/UTC"})
	w.visit("/users/" + url.PathEscape(h.ada))
	w.says("In force everywhere")
	eval[chromedp.Void](w, settled)
	taken, err := chromedp.Run(w.context, chromedp.CaptureScreenshot())
	w.must(err)
	full, err := png.Decode(bytes.NewReader(taken))
	w.must(err)
	var b bytes.Buffer
	w.must((&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, fewColors(full)))
	w.must(os.WriteFile(filepath.Join("screenshots", "user.png"), b.Bytes(), 0o644))
}

// fewColors returns a picture with the 256 colors that are used most: those of the page,
// and most shades at the edges of its letters.
func fewColors(full image.Image) image.Image {
	count := map[color.RGBA]int{}
	box := full.Bounds()
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(full.At(x, y)).(color.RGBA) }
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	var colors []color.RGBA
	for c := range count {
		colors = append(colors, c)
	}
	slices.SortFunc(colors, func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	for _, c := range colors[:min(len(colors), 256)] {
		palette = append(palette, c)
	}
	small := image.NewPaletted(box, palette)
	nearest := map[color.RGBA]uint8{}
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			c := at(x, y)
			i, known := nearest[c]
			if !known {
				i = uint8(palette.Index(c)) // #nosec G115 -- of 256 colors
				nearest[c] = i
			}
			small.SetColorIndex(x, y, i)
		}
	}
	return small
}
