package inbound

import (
	"net/http"
	"strconv"
	"strings"
)

// Weight reads the q parameter among the parameters of a coding or media range
// (RFC 9110, section 12.4.2); 1 if there is none, 0 if it cannot be read.
func Weight(parameters string) float64 {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(parameter, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0
		}
		return q
	}
	return 1
}

// AcceptsGzip reads Accept-Encoding (RFC 9110, section 12.5.3) as far as it is
// needed: gzip is named, and not with a weight of zero.
func AcceptsGzip(h http.Header) bool {
	for _, line := range h.Values("Accept-Encoding") {
		for coding := range strings.SplitSeq(line, ",") {
			name, parameters, _ := strings.Cut(coding, ";")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") {
				return Weight(parameters) > 0
			}
		}
	}
	return false
}
