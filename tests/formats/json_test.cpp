#include "formats/json.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace headscope {
namespace {

ErrorCode code_of(const std::string& text, const json::Limits& limits = {}) {
  try {
    json::parse(text, "a.json", limits);
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::kInternal;
}

template <typename Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Json, ParsesWhatPythonWrites) {
  const auto value =
      json::parse(R"({"a": [1, -2, 3.5, true, null, "\u0434\ud83d\ude00"]})", "a.json");
  EXPECT_EQ(value["a"].size(), 6U);
  EXPECT_EQ(value["a"][5], "д😀");
}

TEST(Json, OfEqualKeysTheLastCounts) {
  EXPECT_EQ(json::parse(R"({"a": 1, "a": 2})", "a.json")["a"], 2);
}

TEST(Json, ErrorsNameFileLineAndColumn) {
  const std::string text = "{\n  \"дом\": 1,\n  \"дым\": }\n";
  const std::string message = message_of([&] { json::parse(text, "config.json"); });
  EXPECT_TRUE(message.starts_with("[config.json] line 3, column 10: ")) << message;
}

TEST(Json, ErrorsAreOneShortLineWhateverTheText) {
  const std::string text = "{\"" + std::string(100000, 'x') + "\n";
  const std::string message = message_of([&] { json::parse(text, "a.json"); });
  EXPECT_LT(message.size(), 400U);
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

TEST(Json, ErrorsHoldNoBytesOfTheText) {
  for (const char* text : {"{\"\xD0\xBE; expected \xFF\xD0\xBE\n", "[\"; expected \xD0\"x"}) {
    const std::string message = message_of([&] { json::parse(text, "a.json"); });
    EXPECT_TRUE(message.starts_with("[a.json] line 1, ")) << message;
    for (const char c : message) EXPECT_TRUE(c >= ' ' && c <= '~') << message;
  }
}

TEST(Json, TextThatIsNotJsonIsAFormatError) {
  const std::vector<std::string> texts = {"",
                                          " ",
                                          "{",
                                          "[1,]",
                                          "{\"a\":}",
                                          "{a:1}",
                                          "01",
                                          "+1",
                                          "nul",
                                          "[1] 2",
                                          "\"\\x\"",
                                          "\"a\nb\"",
                                          "\"\xC0\x80\"",
                                          "\"\xED\xA0\x80\"",
                                          "\"\xFF\"",
                                          "\"\\ud800\"",
                                          "1e999",
                                          "NaN",
                                          "// c\n1"};
  for (const auto& text : texts) EXPECT_EQ(code_of(text), ErrorCode::kFormat) << text;
}

TEST(Json, NulDoesNotEndTheText) {
  EXPECT_EQ(code_of(std::string("{}\0{}", 5)), ErrorCode::kFormat);
  EXPECT_EQ(code_of(std::string("{}\0", 3)), ErrorCode::kFormat);
  EXPECT_EQ(code_of(std::string("\"\\\0\"", 4)), ErrorCode::kFormat);
}

TEST(Json, DepthIsBounded) {
  EXPECT_NO_THROW(json::parse(std::string(128, '[') + std::string(128, ']'), "a.json"));
  EXPECT_EQ(code_of(std::string(129, '[') + std::string(129, ']')), ErrorCode::kFormat);
  EXPECT_EQ(code_of(std::string(1000000, '[')), ErrorCode::kFormat);
  // Brackets inside texts are letters.
  EXPECT_NO_THROW(json::parse('"' + std::string(1000, '[') + "\\\"" + '"', "a.json"));
}

TEST(Json, LengthIsBounded) {
  EXPECT_EQ(code_of("[1,2,3]", {.bytes = 6}), ErrorCode::kResources);
  EXPECT_NO_THROW(json::parse("[1,2,3]", "a.json", {.bytes = 7}));
}

TEST(Json, EveryPrefixOfADocumentIsRefused) {
  const std::string text = R"({"a":[1,{"b":"\u0434\n"},-0.5e3],"c":false,"d":null})";
  for (std::size_t n = 0; n < text.size(); ++n) {
    EXPECT_EQ(code_of(text.substr(0, n)), ErrorCode::kFormat) << n;
  }
}

TEST(JsonGetters, ReadWhatIsThere) {
  const auto value = json::parse(
      R"({"n": 12, "x": 0.5, "on": true, "s": "gelu", "v": [1, 2], "none": null})", "c");
  EXPECT_EQ(json::require<int>(value, "n", "c"), 12);
  EXPECT_EQ(json::require<std::uint8_t>(value, "n", "c"), 12);
  EXPECT_FLOAT_EQ(json::require<float>(value, "x", "c"), 0.5F);
  EXPECT_DOUBLE_EQ(json::require<double>(value, "n", "c"), 12.0);
  EXPECT_TRUE(json::require<bool>(value, "on", "c"));
  EXPECT_EQ(json::require<std::string>(value, "s", "c"), "gelu");
  EXPECT_EQ(json::require<std::vector<std::int64_t>>(value, "v", "c"),
            (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(json::get_or<int>(value, "missing", 7, "c"), 7);
  EXPECT_EQ(json::get_or<int>(value, "none", 7, "c"), 7);
  EXPECT_EQ(json::get_or<std::string>(value, "missing", "relu", "c"), "relu");
}

TEST(JsonGetters, WrongTypesAreNamed) {
  const auto value = json::parse(
      R"({"wide": "768", "half": 0.5, "whole": 3.0, "big": 3000000000, "neg": -1, "v": [1, "b"],
          "huge": 18446744073709551615, "vast": 1e300})",
      "c");
  const auto says = [&](auto call, const std::string& expected) {
    EXPECT_EQ(message_of(call), "[c] expected " + expected);
  };
  says([&] { json::require<int>(value, "wide", "c"); }, "\"wide\" to be an integer, found \"768\"");
  says([&] { json::get_or<int>(value, "half", 1, "c"); }, "\"half\" to be an integer, found 0.5");
  says([&] { json::require<std::int64_t>(value, "whole", "c"); },
       "\"whole\" to be an integer, found 3.0");
  says([&] { json::require<int>(value, "big", "c"); },
       "\"big\" to be an integer from -2147483648 to 2147483647, found 3000000000");
  says([&] { json::require<std::uint32_t>(value, "neg", "c"); },
       "\"neg\" to be an integer from 0 to 4294967295, found -1");
  says([&] { json::require<std::int64_t>(value, "huge", "c"); },
       "\"huge\" to be an integer from -9223372036854775808 to 9223372036854775807, "
       "found 18446744073709551615");
  says([&] { json::require<float>(value, "vast", "c"); },
       "\"vast\" to be a number of at most 3.40282e+38, found 1e+300");
  says([&] { json::require<std::vector<int>>(value, "v", "c"); },
       "\"v[1]\" to be an integer, found \"b\"");
  says([&] { json::require<bool>(value, "v", "c"); },
       "\"v\" to be true or false, found an array of 2");
  says([&] { json::require<int>(value, "none", "c"); }, "\"none\", found none");
  says([&] { json::require<int>(value["v"], "n", "c"); },
       "an object with \"n\", found an array of 2");
}

TEST(JsonGetters, LongTextsAreCutBetweenLetters) {
  json::Value value = std::string(99, 'x') + "дом";
  EXPECT_EQ(json::describe(value), '"' + std::string(99, 'x') + "...");
}

}  // namespace
}  // namespace headscope
