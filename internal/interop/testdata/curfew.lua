-- Asks Curfew about a request, and sets variables to what it answers.
local address = "http://127.0.0.1:8420/v1/verify?sign_in=1"
local variables = {
    ["remote-user"] = "remote_user", ["remote-name"] = "remote_name",
    ["remote-email"] = "remote_email", ["remote-groups"] = "remote_groups",
    ["curfew-user-id"] = "curfew_user_id", ["curfew-session"] = "curfew_session",
    ["location"] = "curfew_location", ["set-cookie"] = "curfew_cookie",
}

core.register_action("curfew", { "http-req" }, function(txn)
    local asks = {
        ["x-forwarded-for"] = { txn.sf:src() },
        ["x-forwarded-proto"] = { "http" }, -- https behind a bind with TLS
        ["x-forwarded-host"] = { txn.sf:req_hdr("host") },
        ["x-forwarded-uri"] = { txn.sf:url() },
        ["x-forwarded-method"] = { txn.sf:method() },
    }
    local sent = txn.http:req_get_headers()
    for _, name in ipairs({ "accept", "authorization", "cookie", "origin", "access-control-request-method" }) do
        if sent[name] then
            asks[name] = {}
            for i = 0, #sent[name] do
                table.insert(asks[name], sent[name][i])
            end
        end
    end
    local answer = core.httpclient():get({ url = address, headers = asks, timeout = 5000 })
    txn:set_var("txn.curfew_status", answer and answer.status or 503)
    for name, variable in pairs(variables) do
        local values = answer and answer.headers and answer.headers[name]
        txn:set_var("txn." .. variable, values and values[0] or "")
    end
end)
