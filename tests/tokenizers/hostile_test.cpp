// Vocabularies, merges, regexes and GGUF metadata that mean harm: one clear line each, and texts
// that do: linear time.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "headscope/error.h"
#include "headscope/tokenizer.h"

namespace headscope {
namespace {

using Json = nlohmann::json;

Json bpe_file() {
  return Json::parse(R"({"model": {"type": "BPE", "unk_token": "<unk>",
    "vocab": {"<unk>": 0, "a": 1, "b": 2, "ab": 3, "aa": 4, "aaaa": 5, " ": 6},
    "merges": [["a", "a"], ["aa", "aa"], "a b"]}})");
}

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was refused";
}

void expect_refusal(const std::string& part, const std::function<void(Json&)>& change) {
  Json json = bpe_file();
  change(json);
  const std::string got = refusal([&] { (void)Tokenizer::parse(json.dump(), "h.json"); });
  EXPECT_EQ(got.rfind("[h.json] expected ", 0), 0U) << got;
  EXPECT_NE(got.find(part), std::string::npos) << got;
  EXPECT_EQ(got.find('\n'), std::string::npos) << got;
}

TEST(HostileTokenizers, MergesMustBeOfKnownTokens) {
  expect_refusal("found no \"zz\"",
                 [](Json& j) { j["model"]["merges"] = Json::parse(R"([["zz", "a"]])"); });
  expect_refusal("found no \"ba\"",
                 [](Json& j) { j["model"]["merges"] = Json::parse(R"([["b", "a"]])"); });
  expect_refusal("merge 0 to be two tokens", [](Json& j) { j["model"]["merges"] = {"a b c"}; });
  expect_refusal("merge 0 to be two tokens",
                 [](Json& j) { j["model"]["merges"] = Json::parse(R"([["a"]])"); });
  expect_refusal("merge 1 to be two tokens", [](Json& j) { j["model"]["merges"] = {"a b", 7}; });
  expect_refusal("\"merges\" to be an array", [](Json& j) { j["model"]["merges"] = "a b"; });
  expect_refusal("\"dropout\" to be null or 0", [](Json& j) { j["model"]["dropout"] = 0.1; });
}

TEST(HostileTokenizers, UnigramsNeedScores) {
  expect_refusal("an array of tokens and scores", [](Json& j) { j["model"]["type"] = "Unigram"; });
  expect_refusal("model.vocab[0] to be [token, score]", [](Json& j) {
    j["model"] = Json::parse(R"({"type": "Unigram", "vocab": [["a"]]})");
  });
  expect_refusal("\"unk_id\" to be the id of one of 1", [](Json& j) {
    j["model"] = Json::parse(R"({"type": "Unigram", "vocab": [["a", -1]], "unk_id": 1})");
  });
  expect_refusal("tokens of at most 1024", [](Json& j) {
    j["model"] = Json::parse(R"({"type": "Unigram", "vocab": [["a", -1]]})");
    j["model"]["vocab"][0][0] = std::string(1025, 'a');
  });
}

TEST(HostileTokenizers, PartsAreChecked) {
  const auto split = [](Json& j, const char* regex) {
    j["pre_tokenizer"] = {{"type", "Split"},
                          {"pattern", {{"Regex", regex}}},
                          {"behavior", "Isolated"},
                          {"invert", false}};
  };
  expect_refusal("a regex that PCRE2 takes, found \"(a\"", [&](Json& j) { split(j, "(a"); });
  expect_refusal("a regex that PCRE2 takes", [&](Json& j) { split(j, "(?~a)"); });
  expect_refusal("precompiled_charsmap", [](Json& j) {
    j["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "?"}};
  });
  expect_refusal("of units in", [](Json& j) {
    j["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "////fwAA"}};
  });
  expect_refusal("\"replacement\" to be one character", [](Json& j) {
    j["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "ab"}};
  });
  expect_refusal("prepend_scheme to be one of always, first, never", [](Json& j) {
    j["pre_tokenizer"] = {{"type", "Metaspace"}, {"prepend_scheme", "last"}};
  });
  expect_refusal("length of FixedLength", [](Json& j) {
    j["pre_tokenizer"] = {{"type", "FixedLength"}, {"length", 0}};
  });
  expect_refusal("a pattern of 1 to", [](Json& j) {
    j["decoder"] = {{"type", "Replace"}, {"pattern", {{"String", ""}}}, {"content", "a"}};
  });
}

TEST(HostileTokenizers, RegexBombsAreStopped) {
  Json json = bpe_file();
  json["pre_tokenizer"] = {{"type", "Split"},
                           {"pattern", {{"Regex", "(?:a|aa)+[bc]"}}},
                           {"behavior", "Isolated"},
                           {"invert", false}};
  const Tokenizer tokenizer = Tokenizer::parse(json.dump(), "bomb.json");
  const std::string got = refusal([&] { (void)tokenizer.encode(std::string(5000, 'a')); });
  EXPECT_NE(got.find("steps, found"), std::string::npos) << got;
}

double seconds_of(const Tokenizer& tokenizer, const std::string& text) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(tokenizer.encode(text, false).ids.empty());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

TEST(HostileTokenizers, AMegabyteWithoutSpacesEndsSoon) {
  const Tokenizer tokenizer = Tokenizer::parse(bpe_file().dump(), "h.json");
  std::string mixed;
  for (int i = 0; i < 500000; ++i) mixed += i % 7 == 0 ? "ab" : "aa";
  for (const std::string& text : {std::string(1000000, 'a'), mixed, std::string(1000000, 'z')}) {
    EXPECT_LT(seconds_of(tokenizer, text), 10.0);  // quadratic would take minutes
  }
  const Tokenizer unigram = Tokenizer::parse(
      R"({"model": {"type": "Unigram", "unk_id": 0,
        "vocab": [["<unk>", 0], ["a", -1], ["aa", -1.5], ["aaaaaaaa", -2]]}})",
      "u.json");
  EXPECT_LT(seconds_of(unigram, std::string(1000000, 'a')), 10.0);
  EXPECT_LT(seconds_of(unigram, std::string(1000000, 'z')), 10.0);
}

Json gguf_metadata() {
  return {{"tokenizer.ggml.model", "llama"},
          {"tokenizer.ggml.tokens", {"<unk>", "<s>", "a", "b", "ab", "\u2581"}},
          {"tokenizer.ggml.scores", {0.0, 0.0, -1.0, -2.0, 0.5, -3.0}},
          {"tokenizer.ggml.token_type", {2, 3, 1, 1, 1, 1}},
          {"tokenizer.ggml.bos_token_id", 1}};
}

TEST(HostileTokenizers, GgufMetadataIsChecked) {
  const auto expect = [](const std::string& part, const std::function<void(Json&)>& change) {
    Json json = gguf_metadata();
    change(json);
    const std::string got = refusal([&] { (void)Tokenizer::from_gguf(json, "m.gguf"); });
    EXPECT_EQ(got.rfind("[m.gguf] expected ", 0), 0U) << got;
    EXPECT_NE(got.find(part), std::string::npos) << got;
  };
  const auto key = [](const char* name) { return std::string("tokenizer.ggml.") + name; };
  expect("tokenizer.ggml.tokens, found nothing", [&](Json& j) { j.erase(key("tokens")); });
  expect("tokenizer.ggml.tokens to be an array", [&](Json& j) { j[key("tokens")] = 7; });
  expect("tokenizer.ggml.tokens[1] to be a text", [&](Json& j) { j[key("tokens")][1] = 7; });
  expect("UTF-8, found other bytes", [&](Json& j) { j[key("tokens")][2] = "\xC3"; });
  expect("an entry for each of 6 tokens, found 1", [&](Json& j) { j[key("scores")] = {1.0}; });
  expect("an entry for each of 6 tokens, found 2", [&](Json& j) { j[key("token_type")] = {1, 1}; });
  expect("bos_token_id to be the id of one of 6 tokens, found 6",
         [&](Json& j) { j[key("bos_token_id")] = 6; });
  expect("to be one of gpt2, llama, bert, t5, found \"rwkv\"",
         [&](Json& j) { j[key("model")] = "rwkv"; });
  expect("tokenizer.ggml.pre to be one of default gpt-2", [&](Json& j) {
    j[key("model")] = "gpt2";
    j[key("pre")] = "new-thing";
  });
  expect("merges[0] to be two tokens", [&](Json& j) {
    j[key("model")] = "gpt2";
    j[key("merges")] = {"ab"};
  });
}

// Published files have them: <pad> under several ids, say.
TEST(HostileTokenizers, EqualTokensOfAGgufFileAllKeepTheirText) {
  for (const char* kind : {"llama", "t5", "gpt2", "bert"}) {
    Json json = gguf_metadata();
    json["tokenizer.ggml.model"] = kind;
    json["tokenizer.ggml.tokens"] = {
        "<unk>", "[SEP]", "\u2581a", "[CLS]", "\u2581a", "[SEP]", "a", "a"};
    json["tokenizer.ggml.scores"] = {0.0, 0.0, -1.0, -2.0, -1.5, -3.0, -4.0, -5.0};
    json["tokenizer.ggml.token_type"] = {2, 3, 1, 3, 1, 3, 1, 1};
    json["tokenizer.ggml.pre"] = "gpt-2";
    json["tokenizer.ggml.merges"] = Json::array();
    json["tokenizer.ggml.cls_token_id"] = 3;
    json["tokenizer.ggml.seperator_token_id"] = 5;
    json["tokenizer.ggml.unknown_token_id"] = 0;
    json["tokenizer.ggml.eos_token_id"] = 5;
    const Tokenizer tokenizer = Tokenizer::from_gguf(json, kind);
    EXPECT_EQ(tokenizer.vocabulary_size(), 8) << kind;
    for (const auto& [earlier, later] : {std::pair{2, 4}, std::pair{6, 7}}) {
      EXPECT_EQ(tokenizer.token_of(earlier), tokenizer.token_of(later)) << kind;
      EXPECT_EQ(tokenizer.decode(std::array{earlier}), tokenizer.decode(std::array{later})) << kind;
      EXPECT_NE(tokenizer.decode(std::array{earlier}), "") << kind;
      EXPECT_EQ(tokenizer.id_of(tokenizer.token_of(earlier)), later) << kind;
    }
    EXPECT_EQ(tokenizer.decode(std::array{1, 2, 3, 5}, true), tokenizer.decode(std::array{2}, true))
        << kind;
    for (const std::int32_t id : tokenizer.encode("a", false).ids)
      EXPECT_TRUE(id != 2 && id != 6) << kind << ' ' << id;
  }
}

TEST(HostileTokenizers, EveryNamedPatternCompiles) {
  for (const char* pre : {"default",      "gpt-2",          "smollm",    "falcon", "llama-bpe",
                          "glm4",         "qwen2",          "qwen35",    "gpt-4o", "tekken",
                          "seed-coder",   "bloom",          "viking",    "dbrx",   "deepseek-v3",
                          "deepseek-llm", "deepseek-coder", "command-r", "olmo",   "chatglm-bpe"}) {
    const Json metadata = {{"tokenizer.ggml.model", "gpt2"},
                           {"tokenizer.ggml.pre", pre},
                           {"tokenizer.ggml.add_bos_token", false},
                           {"tokenizer.ggml.tokens", {"a", "b", "ab", "\u0120", "1", "2", "12"}},
                           {"tokenizer.ggml.merges", {"a b", "1 2"}}};
    const Tokenizer tokenizer = Tokenizer::from_gguf(metadata, pre);
    EXPECT_EQ(tokenizer.encode("ab a").ids, (std::vector<std::int32_t>{2, 3, 0})) << pre;
  }
}

TEST(HostileTokenizers, SentencePieceMergesTheBestScoreFirst) {
  const Tokenizer tokenizer = Tokenizer::from_gguf(gguf_metadata(), "m.gguf");
  EXPECT_EQ(tokenizer.encode("aab b").ids, (std::vector<std::int32_t>{1, 5, 2, 4, 5, 3}));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("aab b", false).ids), "aab b");
}

}  // namespace
}  // namespace headscope
