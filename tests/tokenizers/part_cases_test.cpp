// Each part and option of a tokenizer.json by itself, against what Hugging Face's library does with
// it: part_cases.json, made by make_part_cases.mjs.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "headscope/error.h"
#include "headscope/tokenizer.h"

namespace headscope {
namespace {

using Json = nlohmann::json;

/// Begin and end of each token in turn, in code points.
std::vector<std::size_t> in_code_points(const std::string& text, const Encoding& encoding) {
  std::vector<std::size_t> before(text.size() + 1, 0);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool begins = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
    before[i + 1] = before[i] + (begins ? 1 : 0);
  }
  std::vector<std::size_t> out;
  for (const ByteRange& range : encoding.offsets) {
    out.push_back(before.at(range.begin));
    out.push_back(before.at(range.end));
  }
  return out;
}

std::string streamed(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids, bool skip) {
  TokenStream stream(tokenizer, skip);
  std::string out;
  for (const std::int32_t id : ids) out += stream.push(id);
  out += stream.flush();
  return out;
}

void check_text(const Tokenizer& tokenizer, const Json& one) {
  const auto text = one.at("text").get<std::string>();
  SCOPED_TRACE(one.at("text").dump(-1, ' ', true));
  const Encoding encoding = tokenizer.encode(text, false);
  const auto ids = one.at("ids").get<std::vector<std::int32_t>>();
  EXPECT_EQ(encoding.ids, ids);
  EXPECT_EQ(in_code_points(text, encoding), one.at("offsets").get<std::vector<std::size_t>>());
  const auto decoded = one.at("decoded").get<std::string>();
  EXPECT_EQ(tokenizer.decode(ids), decoded);
  EXPECT_EQ(streamed(tokenizer, ids, false), decoded);
  EXPECT_EQ(tokenizer.encode(text).ids, one.value("full", ids));
}

TEST(PartCases, AgreeWithHuggingFace) {
  std::ifstream in(HEADSCOPE_SOURCE_DIR "/tests/tokenizers/part_cases.json");
  const Json cases = Json::parse(in);
  ASSERT_GE(cases.size(), 100U);
  for (const Json& one : cases) {
    SCOPED_TRACE(one.at("name").get<std::string>());
    const Tokenizer tokenizer = Tokenizer::parse(one.at("file").dump(), "case");
    for (const Json& text : one.at("texts")) check_text(tokenizer, text);
    for (const Json& list : one.at("lists")) {
      const auto ids = list.at("ids").get<std::vector<std::int32_t>>();
      SCOPED_TRACE(list.at("ids").dump());
      for (const bool skip : {false, true}) {
        const auto decoded = list.at("decoded").at(skip ? 1 : 0).get<std::string>();
        EXPECT_EQ(tokenizer.decode(ids, skip), decoded);
        EXPECT_EQ(streamed(tokenizer, ids, skip), decoded);
      }
    }
  }
}

}  // namespace
}  // namespace headscope
