/* share_scripts.h: what Redis runs for share.c, in Lua: both begin with the same definitions. A script runs without a break, so a limit is never overshot by two
   requests that look at once. Arguments: the session, tokens and money reserved, for settling tokens and money used; then five numbers for each key in KEYS:
   rpm, tpm, concurrency (0 = none), budget in nano-dollars (-1 = none), its period in microseconds. */
#ifndef WEIR_SHARE_SCRIPTS_H
#define WEIR_SHARE_SCRIPTS_H

#define SHARE_PREFIX "weir:limit:"

#define SHARE_COMMON \
    "local time=redis.call('TIME')\n" \
    "local now=time[1]*1000000+time[2]\n" \
    "local session,tokens,money=ARGV[1],tonumber(ARGV[2]),tonumber(ARGV[3])\n" \
    "local live={[session]=true}\n" \
    "local function is_live(id)\n" \
    "  if live[id]==nil then live[id]=redis.call('EXISTS','" SHARE_PREFIX "session:'..id)==1 end\n" \
    "  return live[id]\n" \
    "end\n" \
    "local function open(i,from)\n" /* the state of KEYS[i] as of now, with its limits */ \
    "  local a=from+(i-1)*5\n" \
    "  local s={key=KEYS[i],rpm=tonumber(ARGV[a]),tpm=tonumber(ARGV[a+1]),places=tonumber(ARGV[a+2]),budget=tonumber(ARGV[a+3]),\n" \
    "    period=tonumber(ARGV[a+4]),at=now,r=0,t=0,real=0,spent=0,start=0,n=0,h=0,m=0}\n" \
    "  local raw=redis.call('HGETALL',s.key)\n" \
    "  for j=1,#raw,2 do\n" \
    "    local what,id=string.match(raw[j],'^(%a):(.+)$')\n" \
    "    if not what then s[raw[j]]=tonumber(raw[j+1])\n" \
    "    elseif is_live(id) then s[what]=s[what]+tonumber(raw[j+1])\n" \
    "    else redis.call('HDEL',s.key,raw[j]) end\n" \
    "  end\n" \
    "  local minutes=math.max(now-s.at,0)/60000000\n" /* a clock that was set back drains nothing */ \
    "  s.r=s.rpm>0 and math.max(s.r-minutes*s.rpm,0) or 0\n" \
    "  s.t=s.tpm>0 and math.max(s.t-minutes*s.tpm,0) or 0\n" \
    "  s.real=s.tpm>0 and math.max(s.real-minutes*s.tpm,0) or 0\n" \
    "  if s.period>0 then\n" \
    "    local start=now-now%s.period\n" \
    "    if start>s.start or s.start-start>s.period then s.spent=0 s.start=start end\n" /* set back by less: the period stays spent */ \
    "  end\n" \
    "  return s\n" \
    "end\n" \
    "local function close(s)\n" \
    "  redis.call('HSET',s.key,'at',string.format('%.0f',now),'r',string.format('%.6f',s.r),'t',string.format('%.6f',s.t),\n" \
    "    'real',string.format('%.6f',s.real),'spent',string.format('%.0f',s.spent),'start',string.format('%.0f',s.start))\n" \
    "  redis.call('PEXPIRE',s.key,string.format('%.0f',math.max(3600000,math.ceil(s.period/1000)+60000)))\n" \
    "end\n"

/* The answer: 0, or 1 + which limit of enum limit_kind; which of KEYS from 0; what is left of it; microseconds until it would be let in, -1 for never; then for each
   key the levels of its requests and tokens in thousandths. */
static const char share_take_script[] = SHARE_COMMON
    "local no,all={0,0,0,0},{}\n"
    "local function refuse(kind,i,left,wait)\n" /* of several the one that lasts longest is told */
    "  if no[1]==0 or wait<0 or (no[4]>=0 and wait>no[4]) then no={kind,i-1,left,wait} end\n"
    "end\n"
    "for i=1,#KEYS do\n"
    "  local s=open(i,4)\n"
    "  all[i]=s\n"
    "  local over=s.r-(s.rpm-1)\n"
    "  if s.rpm>0 and over>0.00001 then refuse(1,i,0,math.ceil(over*60000000/s.rpm)) end\n"
    "  over=s.t-(s.tpm-math.min(tokens,s.tpm))\n"
    "  if s.tpm>0 and over>0.00001 then refuse(2,i,math.max(math.floor(s.tpm-s.t),0),math.ceil(over*60000000/s.tpm)) end\n"
    "  if s.places>0 and s.n>=s.places then refuse(3,i,0,1000000) end\n"
    "  local left=s.budget-s.spent-s.m\n"
    "  if s.budget>=0 and money>0 and money>left then\n"
    "    refuse(4,i,math.max(left,0),money>s.budget and -1 or math.max(s.start+s.period-now,1000000))\n"
    "  end\n"
    "end\n"
    "for i,s in ipairs(all) do\n"
    "  if no[1]==0 then\n"
    "    s.r=s.r+1\n"
    "    s.t=s.t+tokens\n"
    "    redis.call('HINCRBY',s.key,'n:'..session,1)\n"
    "    redis.call('HINCRBY',s.key,'h:'..session,ARGV[2])\n"
    "    redis.call('HINCRBY',s.key,'m:'..session,ARGV[3])\n"
    "    close(s)\n"
    "  end\n"
    "  no[3+2*i]=math.ceil(s.r*1000)\n"
    "  no[4+2*i]=math.ceil(s.t*1000)\n"
    "end\n"
    "return no\n";

static const char share_settle_script[] = SHARE_COMMON
    "local used,spent=tonumber(ARGV[4]),tonumber(ARGV[5])\n"
    "for i=1,#KEYS do\n"
    "  local s=open(i,6)\n"
    "  local n=tonumber(redis.call('HGET',s.key,'n:'..session))\n"
    "  if n and n>1 then\n"
    "    redis.call('HINCRBY',s.key,'n:'..session,-1)\n"
    "    redis.call('HINCRBY',s.key,'h:'..session,string.format('%.0f',0-tokens))\n"
    "    redis.call('HINCRBY',s.key,'m:'..session,string.format('%.0f',0-money))\n"
    "  elseif n then\n"
    "    redis.call('HDEL',s.key,'n:'..session,'h:'..session,'m:'..session)\n"
    "  end\n"
    "  if n then s.h=math.max(s.h-tokens,0) end\n"
    "  s.real=s.real+used\n"
    "  if used>=tokens then s.t=s.t+used-tokens\n"
    "  else s.t=math.max(s.t-(tokens-used),math.min(s.t,s.real+s.h)) end\n" /* as bucket_settle: what has drained does not come back */
    "  s.spent=s.spent+spent\n"
    "  close(s)\n"
    "end\n"
    "return 0\n";

/* In place of tokens, so many requests; then the numbers of one key. The answer: the level of its requests in thousandths. */
static const char share_note_script[] = SHARE_COMMON
    "local s=open(1,4)\n"
    "s.r=s.r+tokens\n"
    "close(s)\n"
    "return {math.ceil(s.r*1000)}\n";

#endif
