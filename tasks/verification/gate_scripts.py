"""What the gate does inside Redis: one script before calls and one after them, each a single step for all processes.

Lua, because a look and a change by two commands would let two processes through at once. Visits of one account that
come at one moment share a run of a script, which treats them one after another: what they have in common is read once
and written once. `gate_store.py` runs them.
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

# After what the visits have in common come id, patience and tenant of each. Answers for each {word, milliseconds to
# wait, now, is it the probe}.
ENTER = """
local breaker, account, flights, turns, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local is_first, configured, places = ARGV[1] == '1', number(ARGV[2]), number(ARGV[3])
local lease_ms, window = tonumber(ARGV[4]), tonumber(ARGV[5])
local doubles_ms, probing_ms = tonumber(ARGV[6]), tonumber(ARGV[7])
local near, asks_again = tonumber(ARGV[8]), tonumber(ARGV[9])

local b = redis.call('HMGET', breaker, 'open_until', 'probe_until')
local open_until, probe_until = number(b[1]), number(b[2])
local a = redis.call('HMGET', account, 'closed_until', 'next_free', 'learnt', 'learnt_at', 'second', 'calls')
local closed_until, next_free = number(a[1]) or 0, number(a[2]) or 0
local rate = allowed_rate(configured, number(a[3]), number(a[4]), doubles_ms)
local second = math.floor(now / 1000)
local calls = number(a[5]) == second and number(a[6]) or 0
local passed, begun, tenants = 0, 0, {}
if places then
    redis.call('ZREMRANGEBYSCORE', flights, '-inf', exact(now))
    redis.call('ZREMRANGEBYSCORE', waiting, '-inf', exact(now))
end

-- A tenant's last turn, the moment until which its calls were told to come back later, and its last place.
local function standing(tenant)
    local found = tenants[tenant]
    if not found then
        local t = redis.call('HMGET', turns, 'turn:' .. tenant, 'parked:' .. tenant, 'place:' .. tenant)
        found = {turn = number(t[1]) or 0, parked = number(t[2]) or 0, place = number(t[3]) or 0}
        tenants[tenant] = found
    end
    return found
end

-- Whoever waits for a place and has had none for a while comes before the others. Among those who have had some lately
-- places go to who asks first: to keep them free for each in turn would leave them empty half of the time.
local function places_left(tenant, mine)
    local left = places - redis.call('ZCARD', flights)
    if left <= 0 then return left end
    for _, other in ipairs(redis.call('ZRANGE', waiting, 0, -1)) do
        if other ~= tenant and standing(other).place < math.min(mine.place, now - near) then left = left - 1 end
    end
    return left
end

local function enter(id, patience, tenant)
    if open_until and now < open_until then return {'open', exact(open_until - now)} end
    if open_until and probe_until and now < probe_until then
        return {'open', exact(math.min(probe_until - now, probing_ms))}
    end
    local start = math.max(now, closed_until, rate and next_free or 0)
    local mine = (places or start > now) and standing(tenant)
    if start > now and start - now > (mine.turn > now and math.min(patience, near) or patience) then
        -- Those who come back later get a moment each, in which they may ask again.
        local moment = math.max(start, mine.parked) + 1000 / (rate or 1000)
        if moment - now > 300000 then return {'limited', exact(math.max(start - now, 300000))} end
        mine.parked, mine.is_changed = moment, true
        return {'limited', exact(moment - now)}
    end
    local lease = lease_ms + start - now
    if places then
        if places_left(tenant, mine) <= 0 then
            redis.call('ZADD', waiting, exact(now + asks_again), tenant)
            redis.call('PEXPIRE', waiting, 60000)
            return {'full', '0'}
        end
        redis.call('ZREM', waiting, tenant)
        redis.call('ZADD', flights, exact(now + lease), id)
        redis.call('PEXPIRE', flights, math.ceil(lease) + 60000)
        mine.place, mine.is_changed = now, true
    end
    if start > now then mine.turn, mine.is_changed = start, true end
    passed = passed + 1
    if rate then next_free = start + 1000 / rate end
    if open_until then
        probe_until = now + lease
        redis.call('HSET', breaker, 'probe', id, 'probe_until', exact(probe_until))
    elseif is_first then
        begun = begun + 1
    end
    return {'pass', exact(start - now), exact(now), open_until and 1 or 0}
end

local answers = {}
for i = 10, #ARGV, 3 do answers[#answers + 1] = enter(ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]) end

for tenant, now_at in pairs(tenants) do
    if now_at.is_changed then
        redis.call('HSET', turns, 'turn:' .. tenant, exact(now_at.turn), 'parked:' .. tenant, exact(now_at.parked),
            'place:' .. tenant, exact(now_at.place))
        redis.call('PEXPIRE', turns, 600000)
    end
end
if passed > 0 then redis.call('HSET', account, 'second', second, 'calls', calls + passed) end
if passed > 0 and rate then redis.call('HSET', account, 'next_free', exact(next_free)) end
if passed > 0 then redis.call('PEXPIRE', account, 7200000) end
if begun > 0 then
    redis.call('HINCRBY', breaker, 'begun:' .. math.floor(now * SLOTS / window), begun)
    redis.call('PEXPIRE', breaker, window * 2)
end
return answers
"""

# After what the calls have in common come seven words about each. Answers for each {milliseconds the breaker stays
# open, milliseconds until the turn of the next retry}; '' for neither.
LEAVE = """
local breaker, account, flights, budget = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local is_first, configured = ARGV[1] == '1', number(ARGV[2])
local window, doubles_ms, lowest = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local failures, failed_share = tonumber(ARGV[6]), tonumber(ARGV[7])
local rest_ms, longest_rest_ms = tonumber(ARGV[8]), tonumber(ARGV[9])
local tokens_max, refund, held_back_per_s = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])

local b = redis.call('HMGET', breaker, 'open_until', 'rest', 'probe', 'closed_at')
local open_until, rest, probe, closed_at = number(b[1]), number(b[2]), b[3], number(b[4]) or 0
local t = redis.call('HMGET', budget, 'tokens', 'turn')
local known, turn = number(t[1]), number(t[2]) or 0
local tokens, has_cost = known, false
local ids, remaining = {}, nil

local function open_for(milliseconds)
    open_until, rest, probe, closed_at = now + milliseconds, milliseconds, false, 0
    redis.call('DEL', breaker)
    redis.call('HSET', breaker, 'open_until', exact(open_until), 'rest', rest)
    redis.call('PEXPIRE', breaker, rest + 3600000)
end

local function count_failure()
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
    if sums.failed >= failures and sums.failed >= failed_share * sums.begun then open_for(rest_ms) end
end

local function end_probe(ending)
    if ending == 'failed' then
        open_for(math.min(2 * rest, longest_rest_ms))
    elseif ending == 'silent' then
        redis.call('HDEL', breaker, 'probe', 'probe_until')
        probe = false
    else
        redis.call('DEL', breaker)
        redis.call('HSET', breaker, 'closed_at', exact(now))
        redis.call('PEXPIRE', breaker, window * 2)
        open_until, closed_at = nil, tonumber(exact(now))
    end
end

local function slow_down(begun, closes_for)
    local a = redis.call('HMGET', account, 'closed_until', 'learnt', 'learnt_at', 'calls')
    redis.call('HSET', account, 'closed_until', exact(math.max(now + closes_for, number(a[1]) or 0)))
    -- Calls that were on their way when it was last halved have nothing to say about the rate since then.
    if begun > (number(a[3]) or 0) then
        local rate = allowed_rate(configured, number(a[2]), number(a[3]), doubles_ms) or number(a[4]) or lowest
        redis.call('HSET', account, 'learnt', exact(math.max(lowest, rate / 2)), 'learnt_at', exact(now))
    end
    redis.call('PEXPIRE', account, 7200000)
end

local function leave(id, ending, begun, wants_retry, closes_for, is_about_account)
    if open_until and probe == id then
        end_probe(ending)
    elseif not open_until and ending == 'failed' and is_first and begun >= closed_at then
        count_failure()
    end
    if ending == 'throttled' and is_about_account then slow_down(begun, closes_for) end
    local held = ''
    if ending == 'failed' or ending == 'throttled' then
        tokens, has_cost = math.max(0, (tokens or tokens_max) - 1), true
        if wants_retry and tokens <= tokens_max / 2 and not open_until then
            turn = math.max(now, turn) + 1000 / held_back_per_s
            redis.call('HSET', budget, 'turn', exact(turn))
            held = exact(turn - now)
        end
    elseif ending == 'answered' and tokens then
        tokens = math.min(tokens_max, tokens + refund)
    end
    return {ending == 'failed' and open_until and exact(math.max(0, open_until - now)) or '', held}
end

local answers = {}
for i = 13, #ARGV, 7 do
    ids[#ids + 1] = ARGV[i]
    answers[#answers + 1] = leave(
        ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3] == '1', tonumber(ARGV[i + 4]), ARGV[i + 5] == '1'
    )
    remaining = number(ARGV[i + 6]) or remaining
end

redis.call('ZREM', flights, unpack(ids))
if remaining then -- for those who watch (`worker/operating/providers.py`)
    redis.call('HSET', account, 'remaining', remaining, 'remaining_at', exact(now))
    redis.call('PEXPIRE', account, 7200000)
end
if tokens ~= known then redis.call('HSET', budget, 'tokens', exact(tokens)) end
if has_cost then redis.call('PEXPIRE', budget, 600000) end
return answers
"""
