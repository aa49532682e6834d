"""What the gate does inside Redis: one script before a call and one after it, each a single step for all processes.

Lua, because a look and a change by two commands would let two processes through at once. `gate_store.py` runs them.
"""

# `%.3f`: Redis would write a time of thirteen digits and a fraction in fourteen.
CLOCK = """
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
"""
COMMON = """
local function number(text) return text and tonumber(text) or nil end
local function exact(value) return string.format('%.3f', value) end
local SLOTS = 12

-- Calls a second that the account may make now: as configured, or less after it was told to slow down.
local function allowed_rate(configured, learnt, learnt_at, doubles_ms)
    if learnt then
        local age = now - learnt_at
        local rate = learnt * (1 + age / doubles_ms)
        if configured then return math.min(rate, configured) end
        if age < 4 * doubles_ms then return rate end
    end
    return configured
end
"""

# Answers {word, milliseconds to wait, now, is it the probe}.
ENTER = """
local breaker, account, flights = KEYS[1], KEYS[2], KEYS[3]
local id, lease, patience = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local is_first, configured, places = ARGV[4] == '1', number(ARGV[5]), number(ARGV[6])
local window, doubles_ms = tonumber(ARGV[7]), tonumber(ARGV[8])

local b = redis.call('HMGET', breaker, 'open_until', 'probe_until')
local open_until, probe_until = number(b[1]), number(b[2])
if open_until and now < open_until then return {'open', exact(open_until - now)} end
if open_until and probe_until and now < probe_until then
    return {'open', exact(math.min(probe_until - now, tonumber(ARGV[9])))}
end

local a = redis.call('HMGET', account, 'closed_until', 'next_free', 'learnt', 'learnt_at', 'parked', 'second', 'calls')
local rate = allowed_rate(configured, number(a[3]), number(a[4]), doubles_ms)
local start = math.max(now, number(a[1]) or 0, rate and number(a[2]) or 0)
if start - now > patience then
    -- Those who come back later get a moment each, in which they may ask again.
    local parked = math.max(start, number(a[5]) or 0) + 1000 / (rate or 1000)
    if parked - now > 300000 then
        parked = math.max(start, now + 300000)
    else
        redis.call('HSET', account, 'parked', exact(parked))
    end
    redis.call('PEXPIRE', account, 7200000)
    return {'limited', exact(parked - now)}
end
lease = lease + start - now
if places then
    redis.call('ZREMRANGEBYSCORE', flights, '-inf', exact(now))
    if redis.call('ZCARD', flights) >= places then return {'full', '0'} end
    redis.call('ZADD', flights, exact(now + lease), id)
    redis.call('PEXPIRE', flights, math.ceil(lease) + 60000)
end

local second = math.floor(now / 1000)
local calls = number(a[6]) == second and number(a[7]) + 1 or 1
redis.call('HSET', account, 'second', second, 'calls', calls)
if rate then redis.call('HSET', account, 'next_free', exact(start + 1000 / rate)) end
redis.call('PEXPIRE', account, 7200000)
if open_until then
    redis.call('HSET', breaker, 'probe', id, 'probe_until', exact(now + lease))
elseif is_first then
    redis.call('HINCRBY', breaker, 'begun:' .. math.floor(now * SLOTS / window), 1)
    redis.call('PEXPIRE', breaker, window * 2)
end
return {'pass', exact(start - now), exact(now), open_until and 1 or 0}
"""

# Answers {milliseconds the breaker stays open, milliseconds until the turn of the next retry}; '' for neither.
LEAVE = """
local breaker, account, flights, budget = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, ending, begun = ARGV[1], ARGV[2], tonumber(ARGV[3])
local is_first, wants_retry, configured = ARGV[4] == '1', ARGV[5] == '1', number(ARGV[6])
local closes_for, is_about_account = number(ARGV[7]) or 0, ARGV[8] == '1'
local window, doubles_ms, lowest = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local failures, failed_share = tonumber(ARGV[12]), tonumber(ARGV[13])
local rest_ms, longest_rest_ms = tonumber(ARGV[14]), tonumber(ARGV[15])
local tokens_max, refund, held_back_per_s = tonumber(ARGV[16]), tonumber(ARGV[17]), tonumber(ARGV[18])
local remaining = number(ARGV[19]) -- for those who watch (`worker/operating/providers.py`)

local function open_for(rest)
    redis.call('DEL', breaker)
    redis.call('HSET', breaker, 'open_until', exact(now + rest), 'rest', rest)
    redis.call('PEXPIRE', breaker, rest + 3600000)
    return now + rest
end

redis.call('ZREM', flights, id)
if remaining then
    redis.call('HSET', account, 'remaining', remaining, 'remaining_at', exact(now))
    redis.call('PEXPIRE', account, 7200000)
end

local b = redis.call('HMGET', breaker, 'open_until', 'rest', 'probe', 'closed_at')
local open_until = number(b[1])
if open_until and b[3] == id then
    if ending == 'failed' then
        open_until = open_for(math.min(2 * tonumber(b[2]), longest_rest_ms))
    elseif ending == 'silent' then
        redis.call('HDEL', breaker, 'probe', 'probe_until')
    else
        redis.call('DEL', breaker)
        redis.call('HSET', breaker, 'closed_at', exact(now))
        redis.call('PEXPIRE', breaker, window * 2)
        open_until = nil
    end
elseif not open_until and ending == 'failed' and is_first and begun >= (number(b[4]) or 0) then
    local slot = math.floor(now * SLOTS / window)
    redis.call('HINCRBY', breaker, 'failed:' .. slot, 1)
    redis.call('PEXPIRE', breaker, window * 2)
    local sums, fields = {begun = 0, failed = 0}, redis.call('HGETALL', breaker)
    for i = 1, #fields, 2 do
        local word, at = string.match(fields[i], '^(%l+):(%d+)$')
        if word and tonumber(at) > slot - SLOTS then
            sums[word] = sums[word] + tonumber(fields[i + 1])
        elseif word then
            redis.call('HDEL', breaker, fields[i])
        end
    end
    if sums.failed >= failures and sums.failed >= failed_share * sums.begun then open_until = open_for(rest_ms) end
end

if ending == 'throttled' and is_about_account then
    local a = redis.call('HMGET', account, 'closed_until', 'learnt', 'learnt_at', 'calls')
    redis.call('HSET', account, 'closed_until', exact(math.max(now + closes_for, number(a[1]) or 0)))
    -- Calls that were on their way when it was last halved have nothing to say about the rate since then.
    if begun > (number(a[3]) or 0) then
        local rate = allowed_rate(configured, number(a[2]), number(a[3]), doubles_ms) or number(a[4]) or lowest
        redis.call('HSET', account, 'learnt', exact(math.max(lowest, rate / 2)), 'learnt_at', exact(now))
    end
    redis.call('PEXPIRE', account, 7200000)
end

local held = ''
if ending == 'failed' or ending == 'throttled' then
    local t = redis.call('HMGET', budget, 'tokens', 'turn')
    local tokens = math.max(0, (number(t[1]) or tokens_max) - 1)
    redis.call('HSET', budget, 'tokens', exact(tokens))
    if wants_retry and tokens <= tokens_max / 2 and not open_until then
        local turn = math.max(now, number(t[2]) or 0) + 1000 / held_back_per_s
        redis.call('HSET', budget, 'turn', exact(turn))
        held = exact(turn - now)
    end
    redis.call('PEXPIRE', budget, 600000)
elseif ending == 'answered' then
    local tokens = number(redis.call('HGET', budget, 'tokens'))
    if tokens then redis.call('HSET', budget, 'tokens', exact(math.min(tokens_max, tokens + refund))) end
end
return {ending == 'failed' and open_until and exact(math.max(0, open_until - now)) or '', held}
"""
