// What a tokenizer.json may not say, and what each mistake is called.
#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>

#include "headscope/error.h"
#include "tokenizers/small_bert.h"

namespace headscope {
namespace {

using small_bert::Json;

struct Outcome {
  ErrorCode code;
  std::string message;
};

std::optional<Outcome> refusal(const std::string& text) {
  try {
    (void)Tokenizer::parse(text, "small.json");
  } catch (const Error& error) {
    return Outcome{error.code(), error.what()};
  }
  return std::nullopt;
}

/// Changes the small file in one way and expects one complaint.
void expect_refusal(ErrorCode code,
                    const std::string& part_of_message,
                    const std::function<void(Json&)>& change) {
  Json json = small_bert::file();
  change(json);
  const auto got = refusal(json.dump());
  ASSERT_TRUE(got) << part_of_message;
  EXPECT_EQ(name(got->code), name(code)) << got->message;
  EXPECT_NE(got->message.find(part_of_message), std::string::npos) << got->message;
  EXPECT_EQ(got->message.rfind("[small.json] expected ", 0), 0U) << got->message;
  EXPECT_EQ(got->message.find('\n'), std::string::npos);
}

TEST(TokenizerJson, UnknownPartsAreNamedWithTheKnownOnes) {
  constexpr auto code = ErrorCode::kUnsupported;
  expect_refusal(code, "model to be one of BPE, Unigram, WordLevel, WordPiece, found", [](Json& j) {
    j["model"]["type"] = "Rwkv";
  });
  expect_refusal(code, "normalizer to be one of BertNormalizer, ", [](Json& j) {
    j["normalizer"]["type"] = "Emoji";
  });
  expect_refusal(code, "found \"Rot13\"", [](Json& j) {
    j["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "Rot13"}}}}};
  });
  expect_refusal(code, "pre_tokenizer to be one of BertPreTokenizer, ", [](Json& j) {
    j["pre_tokenizer"]["type"] = "Syllables";
  });
  expect_refusal(code, "behavior of Punctuation to be one of Removed, ", [](Json& j) {
    j["pre_tokenizer"] = {{"type", "Punctuation"}, {"behavior", "Lost"}};
  });
  expect_refusal(code, "post_processor to be one of BertProcessing, ", [](Json& j) {
    j["post_processor"]["type"] = "Padding";
  });
  expect_refusal(code, "to put tokens around texts, found two", [](Json& j) {
    const Json twice = j["post_processor"];
    j["post_processor"] = {{"type", "Sequence"}, {"processors", {twice, twice}}};
  });
  expect_refusal(
      code, "decoder to be one of BPEDecoder, ", [](Json& j) { j["decoder"]["type"] = "Speak"; });
  expect_refusal(code, "version \"1.0\", found \"2.0\"", [](Json& j) { j["version"] = "2.0"; });
}

TEST(TokenizerJson, VocabulariesAreChecked) {
  constexpr auto code = ErrorCode::kFormat;
  const auto vocab = [](Json& j) -> Json& { return j["model"]["vocab"]; };
  expect_refusal(code, "unknown token \"[UNK]\"", [&](Json& j) { vocab(j).erase("[UNK]"); });
  expect_refusal(code, "\"model\"", [](Json& j) { j.erase("model"); });
  expect_refusal(code, "model.vocab", [](Json& j) { j["model"].erase("vocab"); });
  expect_refusal(code, "model.vocab to be an object", [&](Json& j) { vocab(j) = Json::array(); });
  expect_refusal(code, "the id of \"king\" to be 0..", [&](Json& j) { vocab(j)["king"] = -1; });
  expect_refusal(code, "king", [&](Json& j) { vocab(j)["king"] = 4294967296; });
  expect_refusal(code, "king", [&](Json& j) { vocab(j)["king"] = 6.5; });
  expect_refusal(code, "one token an id", [&](Json& j) { vocab(j)["queen"] = 6; });
  expect_refusal(code, "at most 1024 characters, found one of 1025", [&](Json& j) {
    vocab(j)[std::string(1025, 'a')] = 50;
  });
}

TEST(TokenizerJson, IdsMayHaveGapsWithoutCost) {
  Json json = small_bert::file();
  json["model"]["vocab"]["queen"] = 2147483647;
  const Tokenizer tokenizer = small_bert::make(json);
  EXPECT_EQ(tokenizer.encode("queen", false).ids.at(0), 2147483647);
  EXPECT_EQ(tokenizer.token_of(2147483647), "queen");
  EXPECT_EQ(tokenizer.vocabulary_size(), 23);
}

TEST(TokenizerJson, OfEqualKeysTheLastCounts) {
  std::string text = small_bert::file().dump();
  const std::string key = "\"king\":6";
  text.replace(text.find(key), key.size(), "\"king\":77,\"king\":6");
  EXPECT_EQ(Tokenizer::parse(text, "small.json").id_of("king"), 6);
}

TEST(TokenizerJson, TemplatesAreChecked) {
  const auto post = [](Json& j) -> Json& { return j["post_processor"]; };
  expect_refusal(ErrorCode::kFormat, "special token \"[SEP]\" of a template", [&](Json& j) {
    post(j)["special_tokens"].erase("[SEP]");
  });
  expect_refusal(ErrorCode::kFormat, "as many ids as tokens", [&](Json& j) {
    post(j)["special_tokens"]["[SEP]"]["ids"] = {3, 3};
  });
  expect_refusal(ErrorCode::kFormat, "a Sequence A or B, found \"C\"", [&](Json& j) {
    post(j)["single"][1]["Sequence"]["id"] = "C";
  });
  expect_refusal(ErrorCode::kUnsupported, "the first text once and the second never", [&](Json& j) {
    post(j)["single"] = post(j)["pair"];
  });
  expect_refusal(ErrorCode::kUnsupported, "the first text once and the second once", [&](Json& j) {
    post(j)["pair"] = post(j)["single"];
  });
  expect_refusal(ErrorCode::kFormat, "\"pair\"", [&](Json& j) { post(j).erase("pair"); });
  expect_refusal(ErrorCode::kFormat, "\"cls\" to be [token, id], found 1 values", [&](Json& j) {
    post(j) = {{"type", "BertProcessing"}, {"sep", {"[SEP]", 3}}, {"cls", Json::array({"[CLS]"})}};
  });
}

TEST(TokenizerJson, AddedTokensAreChecked) {
  expect_refusal(ErrorCode::kFormat, "\"added_tokens\" to be an array", [](Json& j) {
    j["added_tokens"] = "none";
  });
  expect_refusal(
      ErrorCode::kFormat, "content", [](Json& j) { j["added_tokens"][0].erase("content"); });
  expect_refusal(ErrorCode::kFormat, "lstrip", [](Json& j) { j["added_tokens"][0]["lstrip"] = 1; });
  expect_refusal(ErrorCode::kUnsupported, "added tokens of at most 1024 characters", [](Json& j) {
    j["added_tokens"].push_back(small_bert::added(std::string(2000, 'x'), 22, true));
  });
}

TEST(TokenizerJson, WrongTypesAreErrorsWhereverTheyStand) {
  const Json file = small_bert::file();
  const Json wrong[] = {
      Json(7), Json("x"), Json(true), Json::array({1, 2}), Json::object({{"a", 1}})};
  for (const auto& [key, value] : file.items()) {
    for (const Json& other : wrong) {
      Json json = file;
      json[key] = other;
      // padding and truncation are not read; an empty list of added tokens is a list
      if (key == "padding" || key == "truncation") continue;
      EXPECT_TRUE(refusal(json.dump())) << key << " " << other;
    }
  }
}

TEST(TokenizerJson, EveryTruncatedPrefixIsAnError) {
  const std::string text = small_bert::file().dump();
  ASSERT_FALSE(refusal(text));
  for (std::size_t size = 0; size < text.size(); ++size) {
    const auto got = refusal(text.substr(0, size));
    ASSERT_TRUE(got) << size;
    EXPECT_EQ(got->code, ErrorCode::kFormat) << got->message;
  }
}

TEST(TokenizerJson, ReplacementsThatDoubleTheTextAgainAndAgainAreStopped) {
  Json json = small_bert::file();
  Json steps = Json::array();
  for (int i = 0; i < 40; ++i) {
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}});
  }
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
  const Tokenizer tokenizer = small_bert::make(json);
  try {
    (void)tokenizer.encode("aaaa");
    FAIL() << "2^40 characters";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kResources);
  }
}

}  // namespace
}  // namespace headscope
