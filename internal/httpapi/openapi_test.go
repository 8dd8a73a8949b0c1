package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// document is openapi.yaml, read and checked.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	openapi3filter.RegisterBodyDecoder("text/html", openapi3filter.PlainBodyDecoder)
	doc, err := openapi3.NewLoader().LoadFromData(openAPIDocument)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background(), openapi3.IsOpenAPI31OrLater())
})

func mustDocument(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := document()
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	return doc
}

// The table of routes and the document say the same: each route, its credential,
// permission, capability and parameters.
func TestDocumentAndRoutesAgree(t *testing.T) {
	doc := mustDocument(t)
	documented := map[string]*openapi3.Operation{}
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			documented[method+" "+path] = operation
		}
	}
	for _, route := range Routes() {
		methods := []string{route.Method}
		if route.Method == "" {
			methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}
		}
		for _, method := range methods {
			what := method + " " + route.Pattern
			operation := documented[what]
			if operation == nil {
				t.Errorf("%s is not in openapi.yaml", what)
				continue
			}
			delete(documented, what)
			item := doc.Paths.Value(route.Pattern)
			compare(t, what, route, item, operation)
		}
	}
	for what := range documented {
		t.Errorf("%s is in openapi.yaml, but no route", what)
	}
}

func compare(t *testing.T, what string, route Route, item *openapi3.PathItem, operation *openapi3.Operation) {
	t.Helper()
	security := map[Who]string{
		Anyone: "", Bearer: "session", Client: "client", BearerOrCookie: "cookie session", Holder: " client session",
	}
	if operation.Security == nil {
		t.Errorf("%s: says nothing of security", what)
		return
	}
	var schemes []string
	for _, requirement := range *operation.Security {
		schemes = append(schemes, strings.Join(slices.Collect(maps.Keys(requirement)), "+"))
	}
	slices.Sort(schemes)
	if got := strings.Join(schemes, " "); got != security[route.Who] {
		t.Errorf("%s: security %q, want %q", what, got, security[route.Who])
	}

	var permissions []string
	if list, ok := operation.Extensions["x-permissions"].([]any); ok {
		for _, p := range list {
			permissions = append(permissions, fmt.Sprint(p))
		}
	}
	want := slices.Clone(route.Permissions)
	if route.Self {
		want = append([]string{"self"}, want...)
	}
	if !slices.Equal(permissions, want) {
		t.Errorf("%s: x-permissions %v, want %v", what, permissions, want)
	}
	if capability, _ := operation.Extensions["x-capability"].(string); capability != route.Capability {
		t.Errorf("%s: x-capability %q, want %q", what, capability, route.Capability)
	}

	var query []string
	for _, p := range append(slices.Clone(item.Parameters), operation.Parameters...) {
		if p.Value.In == "query" {
			query = append(query, p.Value.Name)
		}
	}
	wantQuery := slices.Clone(route.Query)
	slices.Sort(query)
	slices.Sort(wantQuery)
	if !route.AnyQuery && !slices.Equal(query, wantQuery) {
		t.Errorf("%s: parameters %v, want %v", what, query, wantQuery)
	}

	statuses := operation.Responses.Map()
	for status, needed := range map[string]bool{
		"401": route.Who != Anyone || route.Pattern == "/v1/sessions",
		"403": route.Permissions != nil || route.Capability != "",
		"503": route.Who != Anyone,
	} {
		if needed && statuses[status] == nil {
			t.Errorf("%s: the answer %s is not described", what, status)
		}
	}
	if (operation.RequestBody != nil) != (route.body > 0) {
		t.Errorf("%s: has a body: %v in openapi.yaml, %v in the table", what, operation.RequestBody != nil, route.body > 0)
	}
}

// checker is a round tripper that checks every answer against openapi.yaml, and
// every accepted request as well: requests that the document does not describe must
// not work.
type checker struct {
	t    *testing.T
	next http.RoundTripper
}

func (c *checker) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	response, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	var answer []byte
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		answer, err = bufio.NewReader(response.Body).ReadBytes('\n') // the rest comes when the session ends
	} else {
		answer, err = io.ReadAll(response.Body)
	}
	response.Body.Close()
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(answer))
	c.check(r, body, response, answer)
	return response, nil
}

func (c *checker) check(r *http.Request, body []byte, response *http.Response, answer []byte) {
	doc := mustDocument(c.t)
	if response.Header.Get("X-Request-Id") == "" {
		c.t.Errorf("%s %s: no X-Request-Id", r.Method, r.URL.Path)
	}
	route, parameters := find(doc, r)
	if route == nil {
		if response.StatusCode != http.StatusNotFound && response.StatusCode != http.StatusMethodNotAllowed {
			c.t.Errorf("%s %s: %d, but openapi.yaml has no such call", r.Method, r.URL.Path, response.StatusCode)
		}
		return
	}
	again := r.Clone(context.Background())
	again.Body = io.NopCloser(bytes.NewReader(body))
	again.ContentLength = int64(len(body))
	input := &openapi3filter.RequestValidationInput{
		Request: again, PathParams: parameters, Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true,
			IncludeResponseStatus: true, ExcludeReadOnlyValidations: true, ExcludeWriteOnlyValidations: true,
			ExcludeResponseBody: true, // see checkBody
		},
	}
	if response.StatusCode < 300 && r.Method != http.MethodHead && len(body) < 1<<20 {
		if err := openapi3filter.ValidateRequest(context.Background(), input); err != nil {
			c.t.Errorf("%s %s was accepted, but is not as in openapi.yaml: %v", r.Method, r.URL.Path, err)
		}
	}
	err := openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: response.StatusCode, Header: response.Header,
		Body: io.NopCloser(bytes.NewReader(answer)), Options: input.Options,
	})
	if err != nil {
		c.t.Errorf("%s %s: the answer %d is not as in openapi.yaml: %v\n%s", r.Method, r.URL.Path, response.StatusCode, err, answer)
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	if err := checkBody(route, response, answer); err != nil {
		c.t.Errorf("%s %s: the body of the answer %d is not as in openapi.yaml: %v\n%s", r.Method, r.URL.Path, response.StatusCode, err, answer)
	}
}

// checkBody checks the body of an answer. openapi3filter would do it as well, but compiles
// the schema again for each answer.
func checkBody(route *routers.Route, response *http.Response, answer []byte) error {
	status := strconv.Itoa(response.StatusCode)
	documented := route.Operation.Responses.Value(status)
	if documented == nil {
		status, documented = "default", route.Operation.Responses.Default()
	}
	if documented == nil {
		return errors.New("the status is not described")
	}
	if len(documented.Value.Content) == 0 {
		return nil
	}
	contentType, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	described := documented.Value.Content[contentType]
	switch {
	case described == nil:
		return fmt.Errorf("the content type %s is not described", contentType)
	case contentType != "application/json" && !strings.HasSuffix(contentType, "+json"):
		return nil // text, of any form
	}
	place := documented.Ref
	if place == "" {
		place = "#/paths/" + inPointer.Replace(route.Path) + "/" + strings.ToLower(route.Method) + "/responses/" + status
	}
	schema, err := compile(place + "/content/" + inPointer.Replace(contentType) + "/schema")
	if err != nil {
		return err
	}
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(answer))
	if err != nil {
		return err
	}
	return schema.Validate(body)
}

// inPointer writes a name for a JSON pointer in a fragment (RFC 6901, section 6).
var inPointer = strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")

// compiler knows the document. It remembers what it has compiled.
var compiler = sync.OnceValues(func() (*jsonschema.Compiler, error) {
	doc, err := document()
	if err != nil {
		return nil, err
	}
	text, err := doc.MarshalJSON()
	if err != nil {
		return nil, err
	}
	content, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	return c, c.AddResource("openapi.json", content)
})

var compiling sync.Mutex // the compiler does one at a time

// compile returns the schema at a place of the document.
func compile(place string) (*jsonschema.Schema, error) {
	c, err := compiler()
	if err != nil {
		return nil, err
	}
	compiling.Lock()
	defer compiling.Unlock()
	return c.Compile("openapi.json" + place)
}

// patterns finds the path of the document that a request is for.
var patterns = sync.OnceValue(func() *http.ServeMux {
	mux := http.NewServeMux()
	for _, route := range Routes() {
		func() {
			defer func() { _ = recover() }() // a pattern with several methods
			mux.Handle(route.Pattern, http.NotFoundHandler())
		}()
	}
	return mux
})

func find(doc *openapi3.T, r *http.Request) (*routers.Route, map[string]string) {
	r = r.Clone(r.Context())
	_, pattern := patterns().Handler(r)
	if isVerify(r.URL) && r.URL.Path != verifyPath {
		pattern = verifyPath + "/{path}" // a path of any form
	}
	item := doc.Paths.Value(pattern)
	if item == nil {
		return nil, nil
	}
	method := r.Method
	if method == http.MethodHead && item.Head == nil {
		method = http.MethodGet
	}
	operation := item.Operations()[method]
	if operation == nil {
		return nil, nil
	}
	parameters := map[string]string{}
	names := strings.Split(pattern, "/")
	for i, value := range strings.Split(r.URL.Path, "/") {
		if i < len(names) && strings.HasPrefix(names[i], "{") {
			parameters[strings.Trim(names[i], "{}")] = value
		}
	}
	return &routers.Route{Spec: doc, Path: pattern, PathItem: item, Method: method, Operation: operation}, parameters
}
