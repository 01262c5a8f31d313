-- Asks Cedargate about a request. Sets txn.cedargate_allowed on a permit and on nothing else; HAProxy denies without it.

local address = os.getenv("CEDARGATE_URL")
local token = os.getenv("CEDARGATE_GATE_TOKEN")
-- No answer within this time (milliseconds) is no access.
local patience = 500

-- HAProxy numbers values from 0.
local function all(values)
    local list = {}
    local at = 0
    while values ~= nil and values[at] ~= nil do
        list[#list + 1] = values[at]
        at = at + 1
    end
    return list
end

core.register_action("cedargate", { "http-req" }, function(txn)
    local sent = txn.http:req_get_headers()
    local headers = {
        ["cedargate-gate-token"] = { token },
        ["x-original-method"] = { txn.f:method() },
        ["x-original-uri"] = { txn.f:pathq() },
        ["x-request-id"] = all(sent["x-request-id"]),
    }
    -- Twice where the client sent it twice: Cedargate refuses that.
    if sent["host"] ~= nil then headers["x-original-host"] = all(sent["host"]) end
    if sent["authorization"] ~= nil then headers["authorization"] = all(sent["authorization"]) end

    local answer = core.httpclient():get({ url = address, headers = headers, timeout = patience })
    if answer == nil then return end
    txn:set_var("txn.cedargate_status", answer.status)
    -- What the client may show: tokens, passwords.
    if answer.status == 401 then
        local values = all(answer.headers["www-authenticate"])
        txn:set_var("txn.cedargate_challenge", table.concat(values, ", "))
    end
    if answer.status ~= 200 then return end
    for _, name in ipairs({ "decision", "decision-id", "reason", "user", "user-id" }) do
        local values = answer.headers["cedargate-" .. name]
        if values ~= nil then txn:set_var("txn.cedargate_" .. name:gsub("-", "_"), values[0]) end
    end
    txn:set_var("txn.cedargate_allowed", true)
end)
