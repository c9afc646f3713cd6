/* test_relay_forms.c: units of relay/forms.h: streams as servers really send them become the body that a plain call would have brought, and bodies become streams.
   In the texts here ' stands for ", and each line of EVENTS is the data of one event. */
#include "test_base.h"

#include "../lib/form_same.h"
#include "net/sse.h"
#include "relay/forms.h"

#define OUT_MAX (64u << 20)

static struct arena arena;
static struct buf in, out, back;

static int open_all(void **state)
{
    (void)state;
    arena_init(&arena, NULL, 0, ARENA_NO_MAX);
    buf_init(&in, OUT_MAX);
    buf_init(&out, OUT_MAX);
    buf_init(&back, OUT_MAX);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    arena_fini(&arena);
    buf_fini(&in);
    buf_fini(&out);
    buf_fini(&back);
    return 0;
}

/* ---- texts ---- */

static void add_quoted(struct buf *b, const char *said)
{
    for (; *said != '\0'; said++)
        assert_int_equal(buf_add(b, *said == '\'' ? "\"" : said, 1), OK);
}

static const char *quoted(const char *said)
{
    struct buf b;
    buf_init(&b, OUT_MAX);
    add_quoted(&b, said);
    const char *copy = arena_copy(&arena, buf_text(&b));
    buf_fini(&b);
    return copy;
}

static struct text events_of(const char *const *lines)
{
    buf_clear(&in);
    for (; *lines != NULL; lines++) {
        assert_int_equal(buf_add_text(&in, TEXT("data: ")), OK);
        add_quoted(&in, *lines);
        assert_int_equal(buf_add_text(&in, TEXT("\n\n")), OK);
    }
    return buf_text(&in);
}

#define EVENTS(...) events_of((const char *const[]){ __VA_ARGS__, NULL })

/* ---- expectations ---- */

static void means(struct text got, const char *expected)
{
    if (!form_is_same(got, text_of(quoted(expected))))
        fail_msg("got\n%.*s\nand not\n%s", TEXT_ARG(got), quoted(expected));
}

static void becomes_body(enum form_surface surface, struct text events, struct text usage, struct buf *b)
{
    buf_clear(b);
    enum fail f = form_body(&arena, surface, events, usage, b);
    if (f != OK)
        fail_msg("%s for\n%.*s", fail_name(f), TEXT_ARG(events));
}

/* The body's events, and again the body that they say, which must mean the same. */
static void comes_back(enum form_surface surface, struct text body, size_t *usage_from)
{
    buf_clear(&out);
    enum fail f = form_events(&arena, surface, body, &out, usage_from);
    if (f != OK)
        fail_msg("%s for\n%.*s", fail_name(f), TEXT_ARG(body));
    struct text all = buf_text(&out);
    becomes_body(surface, (struct text){ all.at, *usage_from }, (struct text){ all.at + *usage_from, all.len - *usage_from }, &back);
    if (!form_is_same(body, buf_text(&back)))
        fail_msg("%.*s\ncame back as\n%.*s", TEXT_ARG(body), TEXT_ARG(buf_text(&back)));
}

/* Events become this body; that becomes events, and those a body that means the same. */
static void says(enum form_surface surface, struct text events, const char *expected)
{
    struct buf body;
    size_t usage_from;
    buf_init(&body, OUT_MAX);
    becomes_body(surface, events, TEXT_NONE, &body);
    means(buf_text(&body), expected);
    comes_back(surface, buf_text(&body), &usage_from);
    buf_fini(&body);
}

static void is_no_answer(enum form_surface surface, struct text events)
{
    buf_clear(&out);
    enum fail f = form_body(&arena, surface, events, TEXT_NONE, &out);
    if (f != FAIL_BAD_JSON || buf_len(&out) != 0)
        fail_msg("%s, %zu bytes, for\n%.*s", fail_name(f), buf_len(&out), TEXT_ARG(events));
}

/* ---- streams of each server ---- */

TEST(openai_sends_null_usage_and_noise_in_each_chunk_and_usage_last)
{
#define C "{'id':'chatcmpl-A1','object':'chat.completion.chunk','created':1764000001,'model':'gpt-4.1-nano','service_tier':'default','system_fingerprint':'fp_1','usage':null,"
    says(FORM_CHAT,
         EVENTS(C "'obfuscation':'xk','choices':[{'index':0,'delta':{'role':'assistant','content':'','refusal':null},'logprobs':null,'finish_reason':null}]}",
                C "'obfuscation':'9','choices':[{'index':0,'delta':{'content':'The tide'},'logprobs':null,'finish_reason':null}]}",
                C "'obfuscation':'','choices':[{'index':0,'delta':{'content':' \\u201cturns\\u201d\\n'},'logprobs':null,'finish_reason':null}]}",
                C "'obfuscation':'','choices':[{'index':0,'delta':{},'logprobs':null,'finish_reason':'stop'}]}",
                "{'id':'chatcmpl-A1','object':'chat.completion.chunk','created':1764000001,'model':'gpt-4.1-nano','choices':[],'usage':{'prompt_tokens':9,"
                "'completion_tokens':4,'total_tokens':13,'prompt_tokens_details':{'cached_tokens':0}}}", "[DONE]"),
         "{'id':'chatcmpl-A1','object':'chat.completion','created':1764000001,'model':'gpt-4.1-nano','service_tier':'default','system_fingerprint':'fp_1','choices':"
         "[{'index':0,'message':{'role':'assistant','content':'The tide \xe2\x80\x9cturns\xe2\x80\x9d\\n','refusal':null},'logprobs':null,'finish_reason':'stop'}],"
         "'usage':{'prompt_tokens':9,'completion_tokens':4,'total_tokens':13,'prompt_tokens_details':{'cached_tokens':0}}}");
#undef C
}

/* complaint 30 */
TEST(llama_server_sends_reasoning_and_tells_usage_and_timings_with_the_last_choice)
{
#define C "{'choices':[{'finish_reason':null,'index':0,'delta':"
#define D "}],'created':1764000002,'id':'chatcmpl-L','model':'smol','system_fingerprint':'b7000','object':'chat.completion.chunk'}"
    says(FORM_CHAT,
         EVENTS(C "{'role':'assistant','content':null}" D, C "{'reasoning_content':'Two and'}" D, C "{'reasoning_content':' two.'}" D, C "{'content':'It is'}" D,
                C "{'content':' 4'}" D,
                "{'choices':[{'finish_reason':'length','index':0,'delta':{}}],'created':1764000002,'id':'chatcmpl-L','model':'smol','system_fingerprint':'b7000',"
                "'object':'chat.completion.chunk','usage':{'completion_tokens':6,'prompt_tokens':11,'total_tokens':17},'timings':{'prompt_n':11,'predicted_ms':93.25}}", "[DONE]"),
         "{'created':1764000002,'id':'chatcmpl-L','model':'smol','system_fingerprint':'b7000','object':'chat.completion','choices':[{'finish_reason':'length','index':0,"
         "'message':{'role':'assistant','reasoning_content':'Two and two.','content':'It is 4'}}],'usage':{'completion_tokens':6,'prompt_tokens':11,'total_tokens':17},"
         "'timings':{'prompt_n':11,'predicted_ms':93.25}}");
#undef C
#undef D
}

TEST(vllm_sends_several_calls_in_fragments_and_repeats_what_names_them)
{
#define C "{'id':'chatcmpl-V','object':'chat.completion.chunk','created':7,'model':'m','choices':[{'index':0,'delta':"
#define D ",'logprobs':null,'finish_reason':null,'token_ids':"
    says(FORM_CHAT,
         EVENTS(C "{'role':'assistant','content':''}" D "null}],'prompt_token_ids':[1,2,3]}", C "{'reasoning':'Both','tool_calls':[]}" D "[10]}]}",
                C "{'tool_calls':[{'id':'call-1','type':'function','index':0,'function':{'name':'tide_at','arguments':''}}]}" D "[11,12]}]}",
                C "{'tool_calls':[{'index':0,'function':{'arguments':'{\\'port\\':'}}]}" D "[13]}]}",
                C "{'tool_calls':[{'id':'call-2','type':'function','index':1,'function':{'name':'moon','arguments':'{'}}]}" D "[]}]}",
                C "{'tool_calls':[{'index':0,'id':'call-1','type':'function','function':{'name':'tide_at','arguments':' \\'Brest\\''}},{'index':1,'function':{'arguments':''}}]}" D "null}]}",
                C "{'tool_calls':[{'index':1,'id':'','function':{'name':'','arguments':'}'}},{'index':0,'function':{'arguments':'}'}}]}" D "[14]}]}",
                C "{'content':''},'logprobs':null,'finish_reason':'tool_calls','stop_reason':null}]}",
                "{'id':'chatcmpl-V','object':'chat.completion.chunk','created':7,'model':'m','choices':[],'usage':{'prompt_tokens':3,'completion_tokens':5}}", "[DONE]"),
         "{'id':'chatcmpl-V','object':'chat.completion','created':7,'model':'m','prompt_token_ids':[1,2,3],'choices':[{'index':0,'message':{'role':'assistant','content':'',"
         "'reasoning':'Both','tool_calls':[{'id':'call-1','type':'function','function':{'name':'tide_at','arguments':'{\\'port\\': \\'Brest\\'}'}},"
         "{'id':'call-2','type':'function','function':{'name':'moon','arguments':'{}'}}]},'logprobs':null,'token_ids':[10,11,12,13,14],'finish_reason':'tool_calls',"
         "'stop_reason':null}],'usage':{'prompt_tokens':3,'completion_tokens':5}}");
#undef C
#undef D
}

TEST(ollama_repeats_the_role_and_gives_every_call_the_index_0_or_none)
{
#define C "{'id':'chatcmpl-86','object':'chat.completion.chunk','created':5,'model':'qwen','system_fingerprint':'fp_ollama','choices':[{'index':0,'delta':{'role':'assistant',"
#define END C "'content':''},'finish_reason':'tool_calls'}]}", "[DONE]"
#define BODY "{'id':'chatcmpl-86','object':'chat.completion','created':5,'model':'qwen','system_fingerprint':'fp_ollama','choices':[{'index':0,'message':{'role':'assistant'," \
    "'content':'Hm.','tool_calls':[{'id':'call_a','type':'function','function':{'name':'f','arguments':'{\\'x\\':1}'}},{'id':'call_b','type':'function','function':{" \
    "'name':'f','arguments':'{\\'x\\':2}'}}]},'finish_reason':'tool_calls'}]}"
#define CALL(index, id, x) "{" index "'id':'" id "','type':'function','function':{'name':'f','arguments':'{\\'x\\':" x "}'}}"
    says(FORM_CHAT, EVENTS(C "'content':'Hm'},'finish_reason':null}]}", C "'content':'.'},'finish_reason':null}]}",
                           C "'content':'','tool_calls':[" CALL("'index':0,", "call_a", "1") "]},'finish_reason':null}]}",
                           C "'content':'','tool_calls':[" CALL("'index':0,", "call_b", "2") "]},'finish_reason':null}]}", END), BODY);
    says(FORM_CHAT, EVENTS(C "'content':'Hm.'},'finish_reason':null}]}", C "'content':'','tool_calls':[" CALL("", "call_a", "1") "," CALL("", "call_b", "2") "]},'finish_reason':null}]}", END), BODY);
#undef C
#undef END
#undef BODY
#undef CALL
}

TEST(azure_sends_filters_before_beside_and_behind_the_words)
{
#define HEAD "'id':'chatcmpl-Z','object':'chat.completion.chunk','created':8,'model':'gpt-4o'"
#define SAFE "'content_filter_results':{'hate':{'filtered':false,'severity':'safe'}}"
    says(FORM_CHAT, EVENTS("{'choices':[],'created':0,'id':'','model':'','object':'','prompt_filter_results':[{'prompt_index':0," SAFE "}]}",
                           "{" HEAD ",'choices':[{'index':0,'content_filter_results':{},'delta':{'role':'assistant','content':'Low','refusal':null},'finish_reason':null}]}",
                           "{" HEAD ",'choices':[{'index':0," SAFE ",'delta':{'content':' water'},'finish_reason':null}]}",
                           "{" HEAD ",'choices':[{'index':0," SAFE ",'delta':{},'finish_reason':'stop'}]}",
                           "{'id':'','object':'','created':0,'model':'','choices':[{'index':0,'finish_reason':null," SAFE ",'content_filter_offsets':{'check_offset':44}}],'usage':null}", "[DONE]"),
         "{'id':'chatcmpl-Z','object':'chat.completion','created':8,'model':'gpt-4o','prompt_filter_results':[{'prompt_index':0," SAFE "}],'choices':[{'index':0,'message':{"
         "'role':'assistant','content':'Low water','refusal':null}," SAFE ",'content_filter_offsets':{'check_offset':44},'finish_reason':'stop'}]}");
#undef HEAD
#undef SAFE
}

TEST(choices_that_come_in_any_order_stand_by_their_index)
{
    says(FORM_CHAT, EVENTS("{'id':'n','choices':[{'index':2,'delta':{'role':'assistant','content':'c'}},{'index':0,'delta':{'role':'assistant','content':'a'}}]}",
                           "{'id':'n','choices':[{'index':1,'delta':{'role':'assistant','content':'b'}}]}", "{'id':'n','choices':[{'index':0,'delta':{'content':'A'},'finish_reason':'stop'}]}",
                           "{'id':'n','choices':[{'index':2,'delta':{'content':'C'},'finish_reason':'length'}]}",
                           "{'id':'n','choices':[{'index':1,'delta':{'content':'B'}}]}", "{'id':'n','choices':[{'index':1,'delta':{},'finish_reason':'stop'}]}", "[DONE]"),
         "{'id':'n','choices':[{'index':0,'message':{'content':'aA'},'finish_reason':'stop'},{'index':1,'message':{'content':'bB'},'finish_reason':'stop'},"
         "{'index':2,'message':{'content':'cC'},'finish_reason':'length'}]}");
}

TEST(logprobs_refusals_audio_and_annotations_come_through_whole)
{
    says(FORM_CHAT, EVENTS("{'id':'p','choices':[{'index':0,'delta':{'role':'assistant','content':''},'logprobs':{'content':[],'refusal':null}}]}",
                           "{'id':'p','choices':[{'index':0,'delta':{'content':'Hi'},'logprobs':{'content':[{'token':'Hi','logprob':-0.5,'bytes':[72,105],'top_logprobs':[]}],'refusal':null}}]}",
                           "{'id':'p','choices':[{'index':0,'delta':{'content':'!'},'logprobs':{'content':[{'token':'!','logprob':-1e-7,'bytes':[33],'top_logprobs':[]}],'refusal':null}}]}",
                           "{'id':'p','choices':[{'index':0,'delta':{},'logprobs':null,'finish_reason':'stop'}]}", "[DONE]"),
         "{'id':'p','choices':[{'index':0,'message':{'content':'Hi!'},'logprobs':{'content':[{'token':'Hi','logprob':-0.5,'bytes':[72,105],'top_logprobs':[]},"
         "{'token':'!','logprob':-1e-7,'bytes':[33],'top_logprobs':[]}],'refusal':null},'finish_reason':'stop'}]}");
    says(FORM_CHAT, EVENTS("{'choices':[{'index':0,'delta':{'role':'assistant','content':null,'refusal':'I can'}}]}", "{'choices':[{'index':0,'delta':{'refusal':'not'}}]}",
                           "{'choices':[{'index':0,'delta':{},'finish_reason':'stop'}]}", "[DONE]"),
         "{'choices':[{'index':0,'message':{'content':null,'refusal':'I cannot'},'finish_reason':'stop'}]}");
    says(FORM_CHAT, EVENTS("{'choices':[{'index':0,'delta':{'role':'assistant','audio':{'id':'audio_1','transcript':'To'}}}]}",
                           "{'choices':[{'index':0,'delta':{'audio':{'transcript':' sea','data':'UklG'}}}]}",
                           "{'choices':[{'index':0,'delta':{'audio':{'id':'audio_1','data':'Rg==','expires_at':99},'annotations':[{'type':'url_citation','url_citation':{'start_index':1}}]}}]}",
                           "{'choices':[{'index':0,'delta':{'annotations':[{'type':'url_citation','url_citation':{'start_index':2}}]},'finish_reason':'stop'}]}", "[DONE]"),
         "{'choices':[{'index':0,'message':{'audio':{'id':'audio_1','transcript':'To sea','data':'UklGRg==','expires_at':99},'annotations':[{'type':'url_citation','url_citation':"
         "{'start_index':1}},{'type':'url_citation','url_citation':{'start_index':2}}]},'finish_reason':'stop'}]}");
    says(FORM_CHAT, EVENTS("{'choices':[{'index':0,'delta':{'reasoning_details':[{'type':'reasoning.text','index':0,'format':'v1','text':'so'}]}}]}",
                           "{'choices':[{'index':0,'delta':{'reasoning_details':[{'type':'reasoning.text','index':0,'format':'v1','text':' be it'},{'index':1,'data':'=='}]}}]}",
                           "{'choices':[{'index':0,'delta':{'content':'ok'},'finish_reason':'stop'}]}", "[DONE]"),
         "{'choices':[{'index':0,'message':{'content':'ok','reasoning_details':[{'type':'reasoning.text','index':0,'format':'v1','text':'so be it'},{'index':1,'data':'=='}]},'finish_reason':'stop'}]}");
}

TEST(text_completions_of_vllm_and_llama_server)
{
#define C "{'id':'cmpl-1','object':'text_completion','created':3,'model':'m','choices':[{'index':"
    says(FORM_COMPLETION,
         EVENTS(C "0,'text':'One','logprobs':{'text_offset':[0],'token_logprobs':[-0.25],'tokens':['One'],'top_logprobs':[{'One':-0.25,'A':-2}]},'finish_reason':null}]}",
                C "1,'text':'Uno','logprobs':null,'finish_reason':'stop','stop_reason':7}]}",
                C "0,'text':' two','logprobs':{'text_offset':[3],'token_logprobs':[-1],'tokens':[' two'],'top_logprobs':[null]},'finish_reason':'length','stop_reason':null}]}", "[DONE]"),
         "{'id':'cmpl-1','object':'text_completion','created':3,'model':'m','choices':[{'index':0,'text':'One two','logprobs':{'text_offset':[0,3],'token_logprobs':[-0.25,-1],"
         "'tokens':['One',' two'],'top_logprobs':[{'One':-0.25,'A':-2},null]},'finish_reason':'length','stop_reason':null},"
         "{'index':1,'text':'Uno','logprobs':null,'finish_reason':'stop','stop_reason':7}]}");
    says(FORM_COMPLETION, EVENTS(C "0,'text':'','logprobs':null,'finish_reason':'stop'}]}", "[DONE]"),
         "{'id':'cmpl-1','object':'text_completion','created':3,'model':'m','choices':[{'index':0,'text':'','logprobs':null,'finish_reason':'stop'}]}");
#undef C
}

TEST(usage_that_was_kept_apart_is_in_the_body)
{
    struct text events = EVENTS("{'id':'u','choices':[{'index':0,'delta':{'content':'x'},'finish_reason':'stop'}]}", "[DONE]");
    struct text usage = text_of(quoted("data: {'id':'u','choices':[],'usage':{'total_tokens':2}}\n\n"));
    becomes_body(FORM_CHAT, events, usage, &back);
    means(buf_text(&back), "{'id':'u','choices':[{'index':0,'message':{'content':'x'},'finish_reason':'stop'}],'usage':{'total_tokens':2}}");
    assert_int_equal(form_body(&arena, FORM_CHAT, events, TEXT("data: {\"usage\":"), &out), FAIL_BAD_JSON);
    assert_int_equal(form_body(&arena, FORM_CHAT, events, TEXT("\n"), &out), FAIL_BAD_JSON);
}

/* ---- what is no whole answer ---- */

#define OPEN "{'choices':[{'index':0,'delta':{'role':'assistant','content':'x'}}]}"
#define STOP "{'choices':[{'index':0,'delta':{},'finish_reason':'stop'}]}"

/* complaint 34 */
TEST(only_whole_answers_become_a_body)
{
    says(FORM_CHAT, EVENTS(OPEN, STOP, "[DONE]"), "{'choices':[{'index':0,'message':{'content':'x'},'finish_reason':'stop'}]}"); /* the twin of what follows */
    is_no_answer(FORM_CHAT, EVENTS(OPEN, STOP));
    is_no_answer(FORM_CHAT, EVENTS(OPEN, "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS("[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS("{'choices':[]}", "[DONE]"));
    is_no_answer(FORM_CHAT, TEXT_NONE);
    is_no_answer(FORM_CHAT, EVENTS(OPEN, "{'error':{'message':'out of memory'}}", STOP, "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS(OPEN, "{'object':'error','message':'out of memory'}", STOP, "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS(OPEN, "'a text'", STOP, "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS(OPEN, "[]", STOP, "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS(OPEN, "{'choices':[{'index':0,'delta':{'content':'y'", STOP, "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS(OPEN, "{'choices':[{'index':0,'finish_reason':null,'finish_reason':'stop'}]}", "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS(OPEN, "{'choices':[{'index':0,'finish_reason':''}]}", "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS(OPEN, "{'choices':[{'index':1,'delta':{'content':'y'}}]}", STOP, "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS(OPEN, "{'choices':[{'index':-1,'delta':{}}]}", STOP, "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS(OPEN, "{'choices':[{'index':0,'delta':'x'}]}", STOP, "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS(OPEN, "{'choices':[{'index':0,'message':{}}]}", STOP, "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS(OPEN, "{'choices':'none'}", STOP, "[DONE]"));
    is_no_answer(FORM_CHAT, TEXT("event: error\ndata: {\"message\":\"gone\"}\n\ndata: [DONE]\n\n"));
    is_no_answer(FORM_COMPLETION, EVENTS(OPEN, STOP, "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS("{'choices':[{'index':0,'text':'x','finish_reason':'stop'}]}", "[DONE]"));
    is_no_answer(FORM_COMPLETION, EVENTS("{'choices':[{'index':0,'text':{},'finish_reason':'stop'}]}", "[DONE]"));
}

TEST(deltas_that_contradict_each_other_become_no_body)
{
#define DELTA(delta) "{'choices':[{'index':0,'delta':" delta "}]}"
    is_no_answer(FORM_CHAT, EVENTS(OPEN, DELTA("{'content':1}"), STOP, "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS(OPEN, DELTA("{'content':['y']}"), STOP, "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS(OPEN, DELTA("{'role':'user'}"), STOP, "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS(OPEN, DELTA("{'tool_calls':[{'index':0,'function':{'name':'f'}}]}"), DELTA("{'tool_calls':[{'index':0,'function':{'name':'g'}}]}"), STOP, "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS(OPEN, DELTA("{'parts':[{'index':0},{}]}"), STOP, "[DONE]"));
    is_no_answer(FORM_CHAT, EVENTS(OPEN, DELTA("{'parts':[{'index':0}]}"), DELTA("{'parts':[1]}"), STOP, "[DONE]"));
#undef DELTA
}

/* Names without end would make each of them look through all others. */
TEST(a_flood_of_names_becomes_no_body)
{
    struct buf flood;
    buf_init(&flood, OUT_MAX);
    for (unsigned round = 0; round < 2; round++) {
        assert_int_equal(buf_printf(&flood, "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"delta\":{\"%u\":1", round), OK);
        for (unsigned i = 0; i < 20000; i++)
            assert_int_equal(buf_printf(&flood, ",\"%u_%u\":1", round, i), OK);
        assert_int_equal(buf_printf(&flood, "}}]}\n\n"), OK);
    }
    assert_int_equal(buf_printf(&flood, "data: [DONE]\n\n"), OK);
    is_no_answer(FORM_CHAT, buf_text(&flood));
    buf_fini(&flood);
}

TEST(only_whole_answers_become_events)
{
    static const char *bodies[] = {
        "", "[]", "{", "{'error':{'message':'no'}}", "{'object':'error','choices':[{'message':{},'finish_reason':'stop'}]}", "{'choices':[]}", "{'choices':{}}", "{}",
        "{'choices':[{'index':0,'message':{'content':'x'}}]}", "{'choices':[{'index':0,'message':{'content':'x'},'finish_reason':null}]}",
        "{'choices':[{'index':0,'message':'x','finish_reason':'stop'}]}", "{'choices':[{'index':0,'text':'x','finish_reason':'stop'}]}",
        "{'choices':[{'index':0,'message':{},'delta':{},'finish_reason':'stop'}]}", "{'choices':[{'index':0.5,'message':{},'finish_reason':'stop'}]}",
        "{'choices':[{'message':{},'finish_reason':'stop'},{'message':{},'finish_reason':'stop'}]}",
        "{'choices':[{'index':1,'message':{},'finish_reason':'stop'},{'index':1,'message':{},'finish_reason':'stop'}]}",
        "{'choices':[{'index':0,'message':{'content':'x','content':'y'},'finish_reason':'stop'}]}",
        "{'choices':[{'index':0,'message':{'parts':[{'index':1},{'index':1}]},'finish_reason':'stop'}]}", /* one delta would make one part of them */
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        size_t usage_from = 77;
        buf_clear(&out);
        if (form_events(&arena, FORM_CHAT, text_of(quoted(bodies[i])), &out, &usage_from) != FAIL_BAD_JSON || buf_len(&out) != 0 || usage_from != 77)
            fail_msg("%s became %.*s", bodies[i], TEXT_ARG(buf_text(&out)));
    }
}

/* ---- what a stream looks like ---- */

struct look {
    unsigned events, texts;
    size_t longest; /* piece of a delta's text */
    struct buf story; /* names of what the deltas say, in order, each once in a row */
};

static void look_at_delta(struct look *l, yyjson_val *delta)
{
    size_t i, n;
    yyjson_val *key, *value;
    yyjson_obj_foreach(delta, i, n, key, value) {
        size_t len = yyjson_get_len(key);
        struct text last = buf_text(&l->story);
        if (!yyjson_is_str(value) || yyjson_get_len(value) == 0)
            if (!yyjson_is_arr(value))
                continue;
        l->texts++;
        l->longest = MAX(l->longest, yyjson_is_str(value) ? yyjson_get_len(value) : 0);
        if (last.len < len + 2 || memcmp(last.at + last.len - len - 1, yyjson_get_str(key), len) != 0 || last.at[last.len - len - 2] != ' ')
            assert_int_equal(buf_printf(&l->story, " %s ", yyjson_get_str(key)), OK);
    }
}

/* Every event is one line of JSON that a client of its own can read, the last one is [DONE]. */
static void look_at(struct look *l, struct text events)
{
    struct text line, rest = events;
    *l = (struct look){ 0 };
    buf_init(&l->story, 1u << 16);
    while (rest.len > 0) {
        rest = text_cut(rest, '\n', &line);
        assert_true(text_starts(line, TEXT("data: ")) && rest.len > 0 && rest.at[0] == '\n');
        rest = (struct text){ rest.at + 1, rest.len - 1 };
        l->events++;
        if (rest.len == 0) {
            assert_true(text_eq(line, TEXT("data: [DONE]")));
            return;
        }
        yyjson_doc *doc = yyjson_read(line.at + 6, line.len - 6, 0);
        assert_non_null(doc);
        yyjson_val *root = yyjson_doc_get_root(doc), *choice = yyjson_arr_get(yyjson_obj_get(root, "choices"), 0);
        assert_true(yyjson_equals_str(yyjson_obj_get(root, "object"), "chat.completion.chunk") && yyjson_equals_str(yyjson_obj_get(root, "id"), "b"));
        assert_true(choice != NULL && yyjson_obj_get(root, "usage") == NULL);
        look_at_delta(l, yyjson_obj_get(choice, "delta"));
        yyjson_doc_free(doc);
    }
    fail_msg("no [DONE]");
}

/* complaint 30: no lump, and the reasoning is not lost. complaint 34: each event by itself, [DONE] at the end, usage for who asked for it. */
TEST(a_body_is_told_in_pieces_as_a_model_writes_it)
{
    struct look l;
    size_t usage_from;
    struct text body = text_of(quoted(
        "{'id':'b','object':'chat.completion','created':1,'model':'m','choices':[{'index':0,'message':{'role':'assistant','content':'The sea comes in twice a day, and "
        "twice a day it leaves again.\\nNobody has ever asked it why.','reasoning_content':'They ask about tides, so I say a little of them.','refusal':null,'tool_calls':["
        "{'id':'c','type':'function','function':{'name':'f','arguments':'{\\'where\\': \\'here\\'}'}}]},'logprobs':null,'finish_reason':'tool_calls'}],"
        "'usage':{'prompt_tokens':1,'completion_tokens':30,'total_tokens':31},'timings':{'predicted_n':30}}"));
    comes_back(FORM_CHAT, body, &usage_from);
    struct text all = buf_text(&out), usage = { all.at + usage_from, all.len - usage_from };
    look_at(&l, (struct text){ all.at, usage_from });
    assert_int_equal(buf_add(&l.story, "", 1), OK);
    assert_string_equal(buf_text(&l.story).at, " role  reasoning_content  content  tool_calls ");
    assert_in_range(l.texts, 9, 14);
    assert_in_range(l.longest, 8, 40);
    assert_true(text_eq(usage, text_of(quoted("data: {'object':'chat.completion.chunk','id':'b','created':1,'model':'m','choices':[],"
                                              "'usage':{'prompt_tokens':1,'completion_tokens':30,'total_tokens':31}}\n\n"))));
    buf_fini(&l.story);
}

static void say_long(struct buf *b, const char *word, size_t bytes)
{
    buf_clear(b);
    add_quoted(b, "{'id':'b','object':'chat.completion','choices':[{'index':0,'message':{'role':'assistant','content':'");
    while (buf_len(b) < bytes)
        assert_int_equal(buf_add_text(b, text_of(word)), OK);
    add_quoted(b, "'},'finish_reason':'stop'}]}");
}

/* With and without blanks, in characters of one to four bytes, escaped and not. */
TEST(a_long_answer_comes_in_a_bounded_number_of_pieces_that_tear_no_character)
{
    static const char *words[] = { "sea ", "x", "\xc3\xa9", "\xe6\xbd\xae", "\xf0\x9f\x8c\x8a", "a\xf0\x9f\x8c\x8a", "\\u00e9\\ud83c\\udf0a", "\\\"", "\\u0000\\n", "x            " };
    static const size_t sizes[] = { 120, 5000, 1u << 20 };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
            struct look l;
            size_t usage_from;
            say_long(&in, words[i], sizes[k]);
            comes_back(FORM_CHAT, buf_text(&in), &usage_from);
            assert_int_equal(usage_from, buf_len(&out)); /* no usage */
            look_at(&l, buf_text(&out));
            assert_in_range(l.texts, 2, 520);
            assert_in_range(l.longest, 4, MAX(64u, sizes[k] / 200));
            buf_fini(&l.story);
            arena_fini(&arena);
            arena_init(&arena, NULL, 0, ARENA_NO_MAX);
        }
}

TEST(an_answer_of_nothing_and_choices_of_many_come_back)
{
    size_t usage_from;
    comes_back(FORM_CHAT, text_of(quoted("{'id':'b','choices':[{'message':{},'finish_reason':'stop'}]}")), &usage_from);
    comes_back(FORM_CHAT, text_of(quoted("{'id':'b','choices':[{'index':0,'message':{'role':'assistant','content':''},'finish_reason':'length'}],'usage':null}")), &usage_from);
    assert_int_equal(usage_from, buf_len(&out));
    comes_back(FORM_COMPLETION, text_of(quoted("{'choices':[{'index':3,'text':'','finish_reason':'stop'}]}")), &usage_from);
    comes_back(FORM_CHAT, text_of(quoted("{'choices':[{'index':0,'message':{'content':'a b c d e'},'finish_reason':'stop','logprobs':{'content':[{'token':'a'}]}},{'index':1,'message':{'content':'',"
                                         "'refusal':'no'},'finish_reason':'stop','logprobs':{'content':null,'refusal':[{'token':'no'}]}},{'index':7,'message':{'content':null,'function_call':{'name':"
                                         "'f','arguments':'{}'}},'finish_reason':'function_call','logprobs':null}]}")), &usage_from);
    comes_back(FORM_CHAT, text_of(quoted("{'choices':[{'index':0,'message':{'content':[{'type':'thinking','thinking':'x'},{'type':'text','text':'y'}],'tool_calls':[{'index':4,'id':'i','type':"
                                         "'custom','custom':{'name':'f','input':'print 1, print 2, print 3, print 4'},'more':[1,{}]},{'function':'odd'},{}]},'finish_reason':'stop'}]}")), &usage_from);
}

/* ---- bounds ---- */

#define SMALL "{'id':'b','choices':[{'index':0,'message':{'content':'one two three four five six','tool_calls':[{'id':'x','function':{'arguments':'{}'}}]},'finish_reason':'stop'}]," \
    "'usage':{'total_tokens':3}}"

TEST(what_does_not_fit_leaves_nothing_behind)
{
    struct text body = text_of(quoted(SMALL));
    size_t usage_from = 77, need;
    struct buf small;
    comes_back(FORM_CHAT, body, &usage_from);
    need = buf_len(&out);
    for (size_t max = 5; max <= need + 5; max++) {
        size_t from = 77;
        buf_init(&small, max);
        assert_int_equal(buf_add(&small, "kept:", 5), OK);
        assert_int_equal(form_events(&arena, FORM_CHAT, body, &small, &from), max < need + 5 ? FAIL_TOO_LARGE : OK);
        assert_int_equal(buf_len(&small), max < need + 5 ? 5 : need + 5);
        assert_int_equal(from, max < need + 5 ? 77 : usage_from + 5);
        buf_fini(&small);
    }
    buf_init(&small, buf_len(&back) - 1);
    assert_int_equal(form_body(&arena, FORM_CHAT, buf_text(&out), TEXT_NONE, &small), OK); /* without usage it fits */
    buf_clear(&small);
    struct text all = buf_text(&out), usage = { all.at + usage_from, all.len - usage_from };
    assert_int_equal(form_body(&arena, FORM_CHAT, (struct text){ all.at, usage_from }, usage, &small), FAIL_TOO_LARGE);
    assert_int_equal(buf_len(&small), 0);
    buf_fini(&small);
}

/* Both ways, with the nth allocation failing, and in an arena of any size: done, or FAIL_NO_MEMORY (FAIL_TOO_LARGE where the tree would not fit), and nothing leaks. */
static bool try_both(uint64_t nth, size_t arena_max, uint64_t *out_count)
{
    struct arena a;
    struct buf events, again;
    size_t usage_from = 0;
    int64_t before = mem_alive();
    arena_init(&a, NULL, 0, arena_max);
    buf_init(&events, OUT_MAX);
    buf_init(&again, OUT_MAX);
    (void)mem_fault(nth);
    enum fail f = form_events(&a, FORM_CHAT, buf_text(&in), &events, &usage_from);
    if (f == OK)
        f = form_body(&a, FORM_CHAT, (struct text){ buf_text(&events).at, usage_from }, TEXT_NONE, &again);
    *out_count = mem_fault(0);
    assert_true(f == OK || f == FAIL_NO_MEMORY || f == FAIL_TOO_LARGE);
    assert_true(f == OK ? buf_len(&again) > 0 : buf_len(&again) == 0);
    buf_fini(&events);
    buf_fini(&again);
    arena_fini(&a);
    assert_int_equal(mem_alive(), before);
    return f == OK;
}

TEST(without_memory_both_ways_fail_and_keep_nothing)
{
    unsigned failed = 0;
    say_long(&in, "ebb and flow, ", 20000);
    for (uint64_t nth = 1, count = UINT64_MAX; nth <= count; nth++) /* arenas and buffers ask again for less, so most failures are none */
        failed += !try_both(nth, ARENA_NO_MAX, &count);
    assert_in_range(failed, 1, 1000);
    failed = 0;
    for (size_t max = 0, count; !try_both(0, max, &count); max += 512)
        failed++;
    assert_in_range(failed, 40, 400); /* 20 to 200 KB */
}

/* ---- answers that nobody thought of ---- */

static uint64_t dice_state;
static unsigned dice(unsigned sides)
{
    dice_state = dice_state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
    return (unsigned)(dice_state >> 33) % sides;
}

static void put_words(struct buf *b)
{
    static const char *words[] = { "tide ", "\\n", "\xe6\xbd\xae", "\xf0\x9f\x8c\x8a ", "\\u0001", "\\'", " ", "ebb,", "\\ud83c\\udf0a", "{}", "[DONE]", "data: " };
    add_quoted(b, "'");
    for (unsigned n = dice(3) == 0 ? dice(200) : dice(9); n > 0; n--)
        add_quoted(b, words[dice(ARRAY_LEN(words))]);
    add_quoted(b, "'");
}

static void put_any(struct buf *b, unsigned depth)
{
    static const char *plain[] = { "null", "true", "0", "-3", "0.1", "18446744073709551615", "1e300", "[]", "{}", "''" };
    static const char *keys[] = { "'a':", "'id':", "'text':", "'':", "'index':", "'tool_calls':" };
    unsigned kind = depth > 0 ? dice(8) : 0;
    if (kind < 4) {
        add_quoted(b, plain[dice(ARRAY_LEN(plain))]);
    } else if (kind < 6) {
        put_words(b);
    } else {
        bool indexed = dice(2);
        add_quoted(b, kind == 6 ? "[" : "{");
        for (unsigned i = 0, n = dice(4); i < n; i++) {
            add_quoted(b, i > 0 ? "," : "");
            if (kind == 6 && indexed) {
                assert_int_equal(buf_printf(b, "{\"index\":%u,\"x\":", i * 2), OK);
                put_any(b, depth - 1);
                add_quoted(b, "}");
                continue;
            }
            add_quoted(b, kind == 6 ? "" : keys[(dice(2) + 2 * i) % ARRAY_LEN(keys)]);
            put_any(b, depth - 1);
        }
        add_quoted(b, kind == 6 ? "]" : "}");
    }
}

static void put_members(struct buf *b, const char *const *keys, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (dice(2)) {
            add_quoted(b, keys[i]);
            put_any(b, 3);
        }
}

static void put_calls(struct buf *b)
{
    add_quoted(b, ",'tool_calls':[");
    for (unsigned i = 0, n = dice(4); i < n; i++) {
        assert_int_equal(buf_printf(b, "%s{\"id\":\"c%u\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":", i > 0 ? "," : "", dice(3)), OK);
        put_words(b);
        add_quoted(b, "},'more':");
        put_any(b, 3);
        add_quoted(b, "}");
    }
    add_quoted(b, "]");
}

static void put_answer(struct buf *b, bool is_chat)
{
    static const char *above[] = { ",'created':", ",'model':", ",'usage':", ",'timings':", ",'system_fingerprint':" };
    static const char *beside[] = { ",'logprobs':", ",'token_ids':", ",'stop_reason':" }, *within[] = { ",'reasoning_content':", ",'refusal':", ",'annotations':", ",'audio':" };
    buf_clear(b);
    add_quoted(b, "{'id':'b','choices':[");
    for (unsigned i = 0, n = 1 + dice(3); i < n; i++) {
        assert_int_equal(buf_printf(b, "%s{\"index\":%u,\"finish_reason\":\"stop\"", i > 0 ? "," : "", i + dice(1 + i)), OK);
        put_members(b, beside, ARRAY_LEN(beside));
        add_quoted(b, is_chat ? ",'message':{'role':'assistant','content':" : ",'text':");
        put_words(b);
        if (is_chat)
            put_members(b, within, ARRAY_LEN(within));
        if (is_chat && dice(3) == 0)
            put_calls(b);
        add_quoted(b, is_chat ? "}}" : "}");
    }
    add_quoted(b, "]");
    put_members(b, above, ARRAY_LEN(above));
    add_quoted(b, "}");
}

/* What has one name twice, or an index twice, is refused; most are told and come back. */
TEST(any_answer_comes_back_from_its_events)
{
    unsigned told = 0;
    for (unsigned seed = 1; seed <= 4000; seed++) {
        size_t usage_from;
        enum form_surface surface = seed % 4 == 0 ? FORM_COMPLETION : FORM_CHAT;
        dice_state = seed;
        put_answer(&in, surface == FORM_CHAT);
        buf_clear(&out);
        enum fail f = form_events(&arena, surface, buf_text(&in), &out, &usage_from);
        assert_true(f == OK || f == FAIL_BAD_JSON);
        if (f == OK) {
            struct buf first;
            buf_init(&first, OUT_MAX);
            comes_back(surface, buf_text(&in), &usage_from);
            assert_int_equal(buf_add_text(&first, buf_text(&back)), OK);
            comes_back(surface, buf_text(&first), &usage_from); /* and once more */
            buf_fini(&first);
            told++;
        }
        arena_fini(&arena);
        arena_init(&arena, NULL, 0, ARENA_NO_MAX);
    }
    assert_in_range(told, 2000, 4000);
}

int main(void)
{
#define ROW(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
    const struct CMUnitTest tests[] = {
        ROW(openai_sends_null_usage_and_noise_in_each_chunk_and_usage_last),
        ROW(llama_server_sends_reasoning_and_tells_usage_and_timings_with_the_last_choice),
        ROW(vllm_sends_several_calls_in_fragments_and_repeats_what_names_them),
        ROW(ollama_repeats_the_role_and_gives_every_call_the_index_0_or_none),
        ROW(azure_sends_filters_before_beside_and_behind_the_words),
        ROW(choices_that_come_in_any_order_stand_by_their_index),
        ROW(logprobs_refusals_audio_and_annotations_come_through_whole),
        ROW(text_completions_of_vllm_and_llama_server),
        ROW(usage_that_was_kept_apart_is_in_the_body),
        ROW(only_whole_answers_become_a_body),
        ROW(deltas_that_contradict_each_other_become_no_body),
        ROW(a_flood_of_names_becomes_no_body),
        ROW(only_whole_answers_become_events),
        ROW(a_body_is_told_in_pieces_as_a_model_writes_it),
        ROW(a_long_answer_comes_in_a_bounded_number_of_pieces_that_tear_no_character),
        ROW(an_answer_of_nothing_and_choices_of_many_come_back),
        ROW(what_does_not_fit_leaves_nothing_behind),
        ROW(without_memory_both_ways_fail_and_keep_nothing),
        ROW(any_answer_comes_back_from_its_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
