from http.server import BaseHTTPRequestHandler, HTTPServer

import jwt

ISSUER = "http://127.0.0.1:8420"
keys = jwt.PyJWKClient(ISSUER + "/.well-known/jwks.json")


class Service(BaseHTTPRequestHandler):
    def do_GET(self):
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            key = keys.get_signing_key_from_jwt(token)
            claims = jwt.decode(token, key.key, algorithms=["ES256"], issuer=ISSUER, audience=ISSUER)
        except jwt.exceptions.PyJWTError:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Bearer")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(claims["sub"].encode())

    def log_message(self, *args):
        pass


HTTPServer(("127.0.0.1", 8080), Service).serve_forever()
