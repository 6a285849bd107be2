#include "headscope/chat_template.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "headscope/error.h"
#include "headscope/safetensors.h"
#include "tokenizers/jinja.h"

namespace headscope {
namespace {

std::tm a_day() {
  std::tm day{};
  day.tm_year = 124;
  day.tm_mon = 6;
  day.tm_mday = 26;
  day.tm_wday = 5;
  day.tm_hour = 12;
  return day;
}

// What an Error says when a template is parsed and rendered, with its code; "" when all is well.
std::pair<std::string, ErrorCode> complaint_of(const std::string& source,
                                               const jinja::Limits& limits = {}) {
  try {
    (void)jinja::Template(source, "t", limits).render({});
  } catch (const Error& error) {
    return {error.what(), error.code()};
  }
  return {"", ErrorCode::kInternal};
}

TEST(Jinja, PrintsWhatJinja2PrintsAndRefusesWhatItRefuses) {
  const std::string file = HEADSCOPE_SOURCE_DIR "/tests/tokenizers/jinja_cases.json";
  const auto json = nlohmann::ordered_json::parse(read_file(file, 1 << 20));
  const jinja::Value variables = jinja::from_json(json.at("variables").dump(), "variables");
  ASSERT_GT(json.at("cases").size(), 700U);
  for (const auto& one : json.at("cases")) {
    const auto source = one[0].get<std::string>();
    SCOPED_TRACE(source);
    try {
      const std::string text = jinja::Template(source, "t").render(variables.dict(), a_day());
      EXPECT_FALSE(one[1].is_null()) << "printed " << text;
      if (one[1].is_string()) {
        EXPECT_EQ(text, one[1].get<std::string>());
      }
    } catch (const Error& error) {
      EXPECT_TRUE(one[1].is_null()) << error.what();
      EXPECT_NE(error.code(), ErrorCode::kInternal);
      EXPECT_TRUE(std::string(error.what()).starts_with("[t, line ")) << error.what();
    }
  }
}

TEST(Jinja, ErrorsNameTheLine) {
  EXPECT_TRUE(complaint_of("a\n{{ 1 }}\n{{ 'a' + 1 }}").first.starts_with("[t, line 3] "));
  EXPECT_TRUE(complaint_of("a\n{% if x %}\n\n").first.starts_with("[t, line 3] "));
  EXPECT_TRUE(complaint_of("\n\n{{ x ! }}").first.starts_with("[t, line 3] "));
  EXPECT_TRUE(complaint_of("{% for i in [1] %}\n{{ i.x.y }}\n{% endfor %}")
                  .first.starts_with("[t, line 2] "));
}

TEST(Jinja, WhatItDoesNotKnowIsUnsupportedAndNamed) {
  for (const char* source : {"{% include 'x' %}", "{{ 1|xmlattr }}", "{{ 1 is prime }}"}) {
    const auto [complaint, code] = complaint_of(source);
    EXPECT_EQ(code, ErrorCode::kUnsupported) << complaint;
  }
  EXPECT_NE(complaint_of("{{ [].append(1) }}").first.find("namespace"), std::string::npos);
}

TEST(Jinja, HostileTemplatesRunIntoTheirLimits) {
  jinja::Limits limits;
  limits.steps = 1'000'000;
  limits.bytes = std::size_t{1} << 22;
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += '(';
  deep += '1' + std::string(5000, ')');
  std::string chain = "{{ 1";
  for (int i = 0; i < 5000; ++i) chain += "+1";
  std::string blocks;
  for (int i = 0; i < 5000; ++i) blocks += "{% if 1 %}";
  const std::string doubling =
      "{% set ns = namespace(a='x', l=[1]) %}{% for i in range(99) %}{% set ns.";
  const std::vector<std::string> sources = {
      "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
      doubling + "a = ns.a + ns.a %}{% endfor %}",
      doubling + "l = ns.l + ns.l %}{% endfor %}",
      doubling + "l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(50) %}{% set ns.l = [ns.l, ns.l] %}"
      "{% endfor %}{{ ns.l|tojson }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(50) %}{% set ns.l = [ns.l, ns.l] %}"
      "{% endfor %}{{ ns.l == ns.l + [] }}{% set m = [ns.l] %}{{ m == [ns.l] }}",
      "{{ 'a' * 99999999999 }}",
      "{{ 'a'.ljust(99999999999) }}",
      "{{ ('abcdefgh' * 9999) | replace('', 'x' * 9999) }}",
      "{{ ('ab' * 9999)|replace('a', 'x' * 9999) }}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
      "{{ [1]|tojson(indent='x' * 99999) * 9999 }}",
      "{{ '%99999d' % 1 }}",
      "{% for n in [1] recursive %}{{ loop([1]) }}{% endfor %}",
      "{{ " + deep + " }}",
      "{{ [" + deep + "] }}",
      chain + " }}",
      "{{ " + std::string(5000, '-') + "1 }}",
      blocks,
  };
  for (const std::string& source : sources) {
    SCOPED_TRACE(source.substr(0, 100));
    const auto [complaint, code] = complaint_of(source, limits);
    EXPECT_EQ(code, ErrorCode::kResources) << complaint;
  }
}

TEST(Jinja, CirclesAreLetGo) {
  // Leak checkers see what is left behind.
  EXPECT_EQ(complaint_of("{% set ns = namespace() %}{% set ns.me = ns %}"
                         "{% macro m() %}{{ m.name }}{% endmacro %}{% set ns.m = m %}{{ m() }}"
                         "{% for i in [ns] %}{% set ns.loop = loop %}{% endfor %}")
                .first,
            "");
  EXPECT_NE(complaint_of("{% set ns = namespace() %}{% set ns.me = ns %}{{ 1/0 }}").first, "");
}

TEST(ChatTemplate, RendersAConversation) {
  const auto chat = ChatTemplate::parse(
      "{{ bos_token }}{% for m in messages %}\n"
      "<|{{ m.role }}|>{{ m.content | trim }}{{ eos_token }}\n"
      "{% endfor %}\n"
      "{% if add_generation_prompt %}<|assistant|>{% endif %}\n");
  ChatOptions options;
  options.bos_token = "<s>";
  options.eos_token = "</s>";
  const std::string messages = R"([{"role": "user", "content": " Hi "}])";
  EXPECT_EQ(chat.render(messages, options), "<s><|user|>Hi</s>\n<|assistant|>");
  options.add_generation_prompt = false;
  EXPECT_EQ(chat.render(messages, options), "<s><|user|>Hi</s>\n");
}

TEST(ChatTemplate, ToolsAndVariablesKeepTheOrderOfTheirKeys) {
  const auto chat = ChatTemplate::parse(
      "{{ tools|tojson }} {{ tools is none }} {{ zone }} {{ documents is none }} "
      "{{ strftime_now('%d %b %Y') }}");
  ChatOptions options;
  options.now = a_day();
  EXPECT_EQ(chat.render("[]", options), "null True  True 26 Jul 2024");
  options.tools =
      R"([{"type": "function", "function": {"name": "f", "args": {"z": 1, "a": 2.0}}}])";
  options.variables = R"({"zone": {"z": 1, "a": null}})";
  EXPECT_EQ(chat.render("[]", options),
            R"([{"type": "function", "function": {"name": "f", "args": {"z": 1, "a": 2.0}}}] )"
            "False {'z': 1, 'a': None} True 26 Jul 2024");
}

TEST(ChatTemplate, BadInputIsOneClearLine) {
  const auto expect = [](const auto& call, ErrorCode code, const std::string& part) {
    try {
      call();
      ADD_FAILURE() << "no error about " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    }
  };
  const auto chat = ChatTemplate::parse("{{ raise_exception('roles must alternate') }}", "x.jinja");
  expect([&] { (void)chat.render("[]"); },
         ErrorCode::kInput,
         "[x.jinja, line 1] the template refuses this conversation: roles must alternate");
  expect([&] { (void)chat.render("{}"); }, ErrorCode::kInput, "[messages] expected a JSON array");
  expect([&] { (void)chat.render("[{]"); }, ErrorCode::kFormat, "[messages");
  expect([&] { (void)chat.render(std::string(200, '[')); }, ErrorCode::kFormat, "nested");
  ChatOptions options;
  options.variables = "[1]";
  expect([&] { (void)chat.render("[]", options); },
         ErrorCode::kInput,
         "[variables] expected a JSON object");
  expect([] { (void)ChatTemplate::parse("{% if %}"); }, ErrorCode::kInput, "line 1");
}

}  // namespace
}  // namespace headscope
