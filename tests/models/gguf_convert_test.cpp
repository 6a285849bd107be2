#include "models/gguf_convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "formats/bytes.h"
#include "formats/json.h"
#include "formats/scratch.h"
#include "headscope/gguf.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"
#include "tokenizers/gguf_json.h"

namespace headscope {
namespace {

namespace fs = std::filesystem;
using json::Value;

constexpr std::int64_t kWidth = 64, kHeads = 4, kKvHeads = 2, kMlp = 96, kWords = 40;

/// A llama of two layers with random weights, as a Hugging Face folder.
class SmallLlama {
 public:
  explicit SmallLlama(const fs::path& folder) {
    fs::create_directories(folder);
    put("model.embed_tokens.weight", {kWords, kWidth});
    put("model.norm.weight", {kWidth});
    for (const char* layer : {"model.layers.0.", "model.layers.1."}) {
      const std::string p = layer;
      put(p + "input_layernorm.weight", {kWidth});
      put(p + "post_attention_layernorm.weight", {kWidth});
      put(p + "self_attn.q_proj.weight", {kWidth, kWidth});
      put(p + "self_attn.k_proj.weight", {kWidth / 2, kWidth});
      put(p + "self_attn.v_proj.weight", {kWidth / 2, kWidth});
      put(p + "self_attn.o_proj.weight", {kWidth, kWidth});
      put(p + "mlp.gate_proj.weight", {kMlp, kWidth});
      put(p + "mlp.up_proj.weight", {kMlp, kWidth});
      put(p + "mlp.down_proj.weight", {kWidth, kMlp});
    }
    save(folder);
    write_file(folder / "config.json", config().dump());
  }

  static Value config() {
    return {{"model_type", "llama"},
            {"architectures", {"LlamaForCausalLM"}},
            {"hidden_size", kWidth},
            {"num_hidden_layers", 2},
            {"num_attention_heads", kHeads},
            {"num_key_value_heads", kKvHeads},
            {"intermediate_size", kMlp},
            {"vocab_size", kWords},
            {"max_position_embeddings", 128},
            {"rms_norm_eps", 1e-5},
            {"rope_theta", 10000.0},
            {"hidden_act", "silu"},
            {"tie_word_embeddings", true},
            {"bos_token_id", 1},
            {"eos_token_id", 2}};
  }
  void save(const fs::path& folder) const {
    std::map<std::string, AnyView, std::less<>> views;
    for (const auto& [name, tensor] : tensors) views.emplace(name, tensor.any());
    write_safetensors(folder / "model.safetensors", views);
  }

  std::map<std::string, Tensor> tensors;

 private:
  void put(const std::string& name, const Shape& shape) {
    Tensor t(DType::kF32, shape);
    std::normal_distribution<float> normal(0.0F, 0.1F);
    for (float& x : t.span<float>()) x = normal(random_);
    tensors.emplace(name, std::move(t));
  }
  std::mt19937 random_{5};
};

/// Reads the numbers of one f32 tensor of a GGUF file by the published layout alone; nothing of the
/// reader that is tested is used here.
std::vector<float> read_plainly(const std::string& file, const std::string& wanted) {
  std::size_t at = 4;
  const auto number = [&](std::size_t bytes) {
    std::uint64_t x = 0;
    std::memcpy(&x, file.data() + at, bytes);
    at += bytes;
    return x;
  };
  const auto text = [&] {
    const std::uint64_t n = number(8);
    at += n;
    return file.substr(at - n, n);
  };
  const std::size_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  const auto skip = [&](std::uint64_t type, const auto& self) -> void {
    if (type == 8) {
      (void)text();
    } else if (type == 9) {
      const std::uint64_t inner = number(4);
      for (std::uint64_t n = number(8); n > 0; --n) self(inner, self);
    } else {
      at += sizes[type];
    }
  };
  if (number(4) != 3) return {};
  const std::uint64_t tensors = number(8);
  for (std::uint64_t keys = number(8); keys > 0; --keys) {
    (void)text();
    skip(number(4), skip);
  }
  std::uint64_t count = 0, offset = 0;
  for (std::uint64_t i = 0; i < tensors; ++i) {
    const bool here = text() == wanted;
    std::uint64_t product = 1;
    for (std::uint64_t rank = number(4); rank > 0; --rank) product *= number(8);
    const std::uint64_t type = number(4);
    const std::uint64_t place = number(8);
    if (!here || type != 0) continue;
    count = product;
    offset = place;
  }
  std::vector<float> out(count);
  std::memcpy(out.data(), file.data() + (at + 31) / 32 * 32 + offset, 4 * count);
  return out;
}

TEST(Convert, AnIndependentReaderFindsRowsOfQTurnedToNeighbours) {
  const Scratch scratch;
  const SmallLlama model(scratch / "hf");
  models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF32);
  const std::string file = read_file(scratch / "m.gguf");
  const auto ours = read_plainly(file, "blk.1.attn_q.weight");
  const auto theirs = model.tensors.at("model.layers.1.self_attn.q_proj.weight").span<float>();
  ASSERT_EQ(ours.size(), theirs.size());
  constexpr std::int64_t kHead = kWidth / kHeads;
  for (std::int64_t h = 0; h < kHeads; ++h) {
    for (std::int64_t pair = 0; pair < kHead / 2; ++pair) {
      for (std::int64_t half = 0; half < 2; ++half) {
        const auto from = static_cast<std::size_t>((h * kHead + half * kHead / 2 + pair) * kWidth);
        const auto to = static_cast<std::size_t>((h * kHead + 2 * pair + half) * kWidth);
        ASSERT_EQ(std::memcmp(&ours[to], &theirs[from], 4 * kWidth), 0) << h << ' ' << pair;
      }
    }
  }
  const auto norm = read_plainly(file, "output_norm.weight");
  ASSERT_EQ(norm.size(), static_cast<std::size_t>(kWidth));
  EXPECT_EQ(norm[3], model.tensors.at("model.norm.weight").span<float>()[3]);
}

headscope::Run run_of(const Model& model) {
  Tokens tokens;
  tokens.ids = Tensor(DType::kI32, {1, 9});
  for (std::int32_t i = 0; i < 9; ++i)
    tokens.ids.span<std::int32_t>()[static_cast<std::size_t>(i)] =
        i * 7 % static_cast<std::int32_t>(kWords);
  return model.run(tokens);
}

/// Largest difference of logits as a share of the largest logit.
double apart(const headscope::Run& a, const headscope::Run& b) {
  double worst = 0.0, largest = 0.0;
  for (std::size_t i = 0; i < a.logits.span<float>().size(); ++i) {
    const auto x = static_cast<double>(a.logits.span<float>()[i]);
    worst = std::max(worst, std::abs(x - static_cast<double>(b.logits.span<float>()[i])));
    largest = std::max(largest, std::abs(x));
  }
  return worst / largest;
}

TEST(Convert, LogitsStayWithinWhatTheDtypeRounds) {
  const Scratch scratch;
  const SmallLlama small(scratch / "hf");
  const headscope::Run whole = run_of(Model::load((scratch / "hf").string()));
  const std::pair<DType, double> kDTypes[] = {{DType::kF32, 1e-6},
                                              {DType::kF16, 3e-3},
                                              {DType::kBF16, 2e-2},
                                              {DType::kQ8_0, 3e-2},
                                              {DType::kQ4_0, 0.4}};
  for (const auto& [dtype, tolerance] : kDTypes) {
    SCOPED_TRACE(name(dtype));
    const fs::path gguf = scratch / (std::string(name(dtype)) + ".gguf");
    models::convert_to_gguf(scratch / "hf", gguf, dtype);
    const Gguf file = Gguf::open(gguf);
    EXPECT_EQ(file.at("blk.0.ffn_up.weight").dtype, dtype);
    EXPECT_EQ(file.at("blk.0.attn_norm.weight").dtype, DType::kF32);
    EXPECT_LE(apart(whole, run_of(Model::load(gguf.string()))), tolerance);
    models::convert_to_folder(gguf, scratch / "back", DType::kF32);
    EXPECT_LE(apart(whole, run_of(Model::load((scratch / "back").string()))), tolerance);
    const Value config = json::parse(read_file(scratch / "back" / "config.json"), "config.json");
    Value facts = SmallLlama::config();
    for (const char* key : {"bos_token_id", "eos_token_id"})
      facts.erase(key);  // a tokenizer's business, and there is none
    for (const auto& [key, value] : facts.items()) EXPECT_EQ(config[key], value) << key;
  }
}

/// T5's kind: what normalises texts is a table, which travels in bytes.
TEST(Convert, AUnigramTokenizerTravelsWithItsTable) {
  const fs::path all = fs::path(HEADSCOPE_SOURCE_DIR) / "tests/tokenizers/part_cases.json";
  const Value cases = json::parse(read_file(all), "part_cases.json");
  const auto found = std::ranges::find_if(
      cases, [](const Value& one) { return one["name"] == "unigram precompiled"; });
  ASSERT_NE(found, cases.end());
  Value tokenizer = (*found)["file"];
  tokenizer["model"]["vocab"].push_back({"</s>", 0.0});
  const auto end = static_cast<std::int64_t>(tokenizer["model"]["vocab"].size()) - 1;
  tokenizer["added_tokens"] = {{{"id", 0}, {"content", "<unk>"}, {"special", true}},
                               {{"id", end}, {"content", "</s>"}, {"special", true}}};
  tokenizer["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
        {{"SpecialToken", {{"id", "</s>"}, {"type_id", 0}}}}}},
      {"pair",
       {{{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
        {{"Sequence", {{"id", "B"}, {"type_id", 0}}}}}},
      {"special_tokens", {{"</s>", {{"id", "</s>"}, {"ids", {end}}, {"tokens", {"</s>"}}}}}}};
  const Scratch scratch;
  const SmallLlama small(scratch / "hf");
  write_file(scratch / "hf" / "tokenizer.json", tokenizer.dump());
  models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF16);
  const Gguf file = Gguf::open(scratch / "m.gguf");
  EXPECT_EQ(file.metadata()["tokenizer.ggml.model"], "t5");
  EXPECT_TRUE(file.metadata()["tokenizer.ggml.precompiled_charsmap"].is_binary());
  EXPECT_EQ(file.metadata()["tokenizer.ggml.unknown_token_id"], 0);
  models::convert_to_folder(scratch / "m.gguf", scratch / "back", DType::kF16);
  const Tokenizer ours = Tokenizer::load(scratch / "hf");
  const Tokenizer in_gguf = Tokenizer::from_gguf(file.metadata(), "m.gguf");
  const Tokenizer back = Tokenizer::load(scratch / "back");
  int texts = 0;
  for (const Value& one : (*found)["texts"]) {
    const auto text = one["text"].get<std::string>();
    const std::vector<std::int32_t> expected = ours.encode(text).ids;
    EXPECT_EQ(in_gguf.encode(text).ids, expected) << text;
    EXPECT_EQ(back.encode(text).ids, expected) << text;
    EXPECT_EQ(expected.back(), end);
    ++texts;
  }
  EXPECT_GE(texts, 10);
}

/// What GGUF has no key for would make other tokens of the same text, without a word.
TEST(Convert, ATokenizerWithRulesThatGgufHasNoKeyForIsRefused) {
  const fs::path all = fs::path(HEADSCOPE_SOURCE_DIR) / "tests/tokenizers/part_cases.json";
  const Value cases = json::parse(read_file(all), "part_cases.json");
  const auto found = std::ranges::find_if(
      cases, [](const Value& one) { return one["name"] == "unigram precompiled"; });
  ASSERT_NE(found, cases.end());
  const Scratch scratch;
  const SmallLlama small(scratch / "hf");
  Value tokenizer = (*found)["file"];
  const Value own = tokenizer["normalizer"];
  for (const Value& rule :
       {Value{{"type", "Lowercase"}},
        Value{{"type", "Replace"}, {"pattern", {{"String", "e"}}}, {"content", "a"}}}) {
    tokenizer["normalizer"] = {{"type", "Sequence"}, {"normalizers", {rule, own}}};
    write_file(scratch / "hf" / "tokenizer.json", tokenizer.dump());
    try {
      models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF16);
      ADD_FAILURE() << rule;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
      EXPECT_NE(std::string(error.what()).find("rules that it has no key for: of \""),
                std::string::npos)
          << error.what();
    }
    EXPECT_FALSE(fs::exists(scratch / "m.gguf"));
  }
}

TEST(Convert, ATokenizerTravelsAsGgufKeys) {
  const Scratch scratch;
  const SmallLlama small(scratch / "hf");
  Value vocab = Value::object();
  for (int i = 0; i < 30; ++i) vocab["t" + std::to_string(i)] = i;
  vocab.update(Value{{"t", 32}, {"0", 33}, {"1", 34}});
  const Value tokenizer = {
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"t 0", Value::array({"t", "1"})}}}},
      {"pre_tokenizer", {{"type", "ByteLevel"}}},
      {"added_tokens", {{{"id", 31}, {"content", "<|end|>"}, {"special", true}}}}};
  write_file(scratch / "hf" / "tokenizer.json", tokenizer.dump());
  write_file(scratch / "hf" / "tokenizer_config.json",
             Value{{"chat_template", "{{ x }}"}, {"add_bos_token", true}}.dump());
  models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF16);
  const Value m = Gguf::open(scratch / "m.gguf").metadata();
  EXPECT_EQ(m["tokenizer.ggml.model"], "gpt2");
  EXPECT_EQ(m["tokenizer.ggml.pre"], "gpt-2");
  EXPECT_EQ(m["tokenizer.ggml.merges"], Value({"t 0", "t 1"}));
  ASSERT_EQ(m["tokenizer.ggml.tokens"].size(), static_cast<std::size_t>(kWords));
  EXPECT_EQ(m["tokenizer.ggml.tokens"][7], "t7");
  EXPECT_EQ(m["tokenizer.ggml.tokens"][31], "<|end|>");
  EXPECT_EQ(m["tokenizer.ggml.token_type"][7], 1);
  EXPECT_EQ(m["tokenizer.ggml.token_type"][31], 3);
  EXPECT_EQ(m["tokenizer.ggml.token_type"][35], 5);
  EXPECT_EQ(m["tokenizer.ggml.bos_token_id"], 1);
  EXPECT_EQ(m["tokenizer.ggml.add_bos_token"], true);
  EXPECT_EQ(m["tokenizer.chat_template"], "{{ x }}");
  models::convert_to_folder(scratch / "m.gguf", scratch / "back", DType::kF32);
  const Value back = json::parse(read_file(scratch / "back" / "tokenizer.json"), "tokenizer.json");
  EXPECT_EQ(back["model"]["vocab"]["t7"], 7);
  EXPECT_EQ(back["model"]["merges"],
            Value::array({Value::array({"t", "0"}), Value::array({"t", "1"})}));
  EXPECT_EQ(back["added_tokens"][0]["content"], "<|end|>");
  const Value settings =
      json::parse(read_file(scratch / "back" / "tokenizer_config.json"), "tokenizer_config.json");
  EXPECT_EQ(settings["chat_template"], "{{ x }}");
  EXPECT_EQ(settings["bos_token"], "t1");
  // Several tokens may end an answer.
  Value more = m;
  more["tokenizer.ggml.eot_token_id"] = 31;
  const Gguf first = Gguf::open(scratch / "m.gguf");
  std::vector<std::pair<std::string, TensorSource>> tensors;
  for (const auto& [name, view] : first.tensors()) tensors.emplace_back(name, source_of(view));
  write_gguf(scratch / "more.gguf", more, tensors);
  models::convert_to_folder(scratch / "more.gguf", scratch / "again", DType::kF32);
  const Value answers = json::parse(read_file(scratch / "again" / "generation_config.json"), "g");
  EXPECT_EQ(answers["eos_token_id"], Value::array({2, 31}));
}

// A token that is added for padding, say, and that the embeddings have no row for can never be read: it stays behind.
// One of the vocabulary itself is of another model.
TEST(Convert, ATokenWithoutARowStaysBehindWhereItWasAdded) {
  const Scratch scratch;
  const SmallLlama small(scratch / "hf");
  Value vocab = Value::object();
  for (int i = 0; i < kWords; ++i) vocab["t" + std::to_string(i)] = i;
  Value tokenizer = {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Value::array()}}},
                     {"pre_tokenizer", {{"type", "ByteLevel"}}},
                     {"added_tokens", {{{"id", kWords}, {"content", "[PAD]"}, {"special", true}}}}};
  write_file(scratch / "hf" / "tokenizer.json", tokenizer.dump());
  Value config = SmallLlama::config();
  config["pad_token_id"] = kWords;
  write_file(scratch / "hf" / "config.json", config.dump());
  models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF16);
  const Value m = Gguf::open(scratch / "m.gguf").metadata();
  EXPECT_EQ(m["tokenizer.ggml.tokens"].size(), static_cast<std::size_t>(kWords));
  EXPECT_FALSE(m.contains("tokenizer.ggml.padding_token_id"));
  EXPECT_EQ(Model::load((scratch / "m.gguf").string()).vocabulary(), kWords);
  tokenizer["model"]["vocab"]["late"] = kWords;
  write_file(scratch / "hf" / "tokenizer.json", tokenizer.dump());
  try {
    models::convert_to_gguf(scratch / "hf", scratch / "n.gguf", DType::kF16);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(
        std::string(error.what()).find("0..39 (rows of the embeddings), found 40 of \"late\""),
        std::string::npos)
        << error.what();
  }
  EXPECT_FALSE(fs::exists(scratch / "n.gguf"));
}

// There and back: a text has the same tokens, however it was split.
TEST(Convert, WaysToSplitKeepTheirNames) {
  const Scratch scratch;
  const SmallLlama small(scratch / "hf");
  for (const char* pre : {"default",
                          "gpt-2",
                          "smollm",
                          "falcon",
                          "llama-bpe",
                          "dbrx",
                          "qwen2",
                          "qwen35",
                          "gpt-4o",
                          "tekken",
                          "seed-coder",
                          "bloom",
                          "viking",
                          "deepseek-v3",
                          "deepseek-llm",
                          "deepseek-coder"}) {
    for (const bool around : {false, true}) {
      Value tokens = Value::array();
      for (int i = 0; i + 2 < kWords; ++i)
        tokens.push_back(std::string(1, static_cast<char>('A' + i)));
      tokens.insert(tokens.end(), {"AB", "BC"});
      const Value metadata = {{"tokenizer.ggml.model", "gpt2"},
                              {"tokenizer.ggml.pre", pre},
                              {"tokenizer.ggml.tokens", tokens},
                              {"tokenizer.ggml.merges", {"A B", "B C"}},
                              {"tokenizer.ggml.bos_token_id", 3},
                              {"tokenizer.ggml.eos_token_id", 4},
                              {"tokenizer.ggml.add_bos_token", around},
                              {"tokenizer.ggml.add_eos_token", around}};
      write_file(scratch / "hf" / "tokenizer.json",
                 tokenizers::gguf_json(metadata, "m.gguf").dump());
      models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF16);
      const Value m = Gguf::open(scratch / "m.gguf").metadata();
      EXPECT_EQ(m["tokenizer.ggml.pre"], pre);
      EXPECT_EQ(m["tokenizer.ggml.add_bos_token"], around) << pre;
      EXPECT_EQ(m["tokenizer.ggml.add_eos_token"], around) << pre;
      if (around) {
        EXPECT_EQ(m["tokenizer.ggml.bos_token_id"], 3) << pre;
        EXPECT_EQ(m["tokenizer.ggml.eos_token_id"], 4) << pre;
      }
    }
  }
  Value other = json::parse(read_file(scratch / "hf" / "tokenizer.json"), "tokenizer.json");
  // As DeepSeek publishes it: characters that others escape are written as they are.
  other["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Value::array()}};
  for (const char* regex :
       {"\\p{N}{1,3}",
        "[一-龥\u3040-ゟ゠-ヿ]+",
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}"
        "\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"}) {
    other["pre_tokenizer"]["pretokenizers"].push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}});
  }
  other["pre_tokenizer"]["pretokenizers"].push_back(
      {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}});
  write_file(scratch / "hf" / "tokenizer.json", other.dump());
  models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF16);
  EXPECT_EQ(Gguf::open(scratch / "m.gguf").metadata()["tokenizer.ggml.pre"], "deepseek-v3");
  other["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "x+"}}}, {"behavior", "Isolated"}};
  write_file(scratch / "hf" / "tokenizer.json", other.dump());
  EXPECT_EQ(
      outcome([&] { models::convert_to_gguf(scratch / "hf", scratch / "n.gguf", DType::kF16); }),
      "unsupported");
  EXPECT_FALSE(fs::exists(scratch / "n.gguf"));
}

TEST(Convert, WhatGgufCannotHoldIsRefusedAndNothingIsWritten) {
  const Scratch scratch;
  const auto refused = [&](const std::string& key, const Value& value) {
    fs::remove_all(scratch / "hf");
    const SmallLlama small(scratch / "hf");
    Value config = SmallLlama::config();
    config[key] = value;
    write_file(scratch / "hf" / "config.json", config.dump());
    return outcome(
        [&] { models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF16); });
  };
  EXPECT_EQ(refused("hidden_act", "gelu"), "unsupported");
  EXPECT_EQ(refused("model_type", "whisper"), "unsupported");
  EXPECT_EQ(refused("rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2.0}}), "unsupported");
  EXPECT_EQ(refused("num_attention_heads", 5), "format");
  EXPECT_EQ(refused("num_hidden_layers", 0), "format");
  EXPECT_EQ(refused("num_hidden_layers", 1), "unsupported");  // tensors of layer 1 are left over
  {
    fs::remove_all(scratch / "hf");
    const SmallLlama small(scratch / "hf");  // Unigram without scores
    write_file(scratch / "hf" / "tokenizer.json",
               std::string_view(R"({"model": {"type": "Unigram", "vocab": {"a": 0, "b": 1}}})"));
    EXPECT_EQ(
        outcome([&] { models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF16); }),
        "format");
  }
  EXPECT_FALSE(fs::exists(scratch / "m.gguf"));
  EXPECT_EQ(outcome([&] { models::convert_to_folder(scratch / "hf", scratch / "o", DType::kF32); }),
            "input");
  EXPECT_FALSE(fs::exists(scratch / "o"));
}

// A last matrix that is a copy of the embeddings stays out; any other counts, as it does when the folder is loaded.
TEST(Convert, ALastMatrixOfItsOwnIsKeptWhateverConfigSaysOfTies) {
  for (const bool own : {false, true}) {
    const Scratch scratch;
    SmallLlama small(scratch / "hf");
    Tensor last = small.tensors.at("model.embed_tokens.weight").clone();
    if (own) last.span<float>()[77] += 0.25F;
    small.tensors.emplace("lm_head.weight", std::move(last));
    small.save(scratch / "hf");
    models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF32);
    EXPECT_EQ(Gguf::open(scratch / "m.gguf").find("output.weight") != nullptr, own);
    const headscope::Run whole = run_of(Model::load((scratch / "hf").string()));
    EXPECT_LE(apart(whole, run_of(Model::load((scratch / "m.gguf").string()))), 1e-6);
    models::convert_to_folder(scratch / "m.gguf", scratch / "back", DType::kF32);
    EXPECT_LE(apart(whole, run_of(Model::load((scratch / "back").string()))), 1e-6);
  }
}

// What would not load is not written, and the tensor that is missing has the folder's name for it.
TEST(Convert, AFolderThatLacksATensorIsRefused) {
  for (const char* name : {"model.layers.1.mlp.up_proj.weight",
                           "model.layers.0.input_layernorm.weight",
                           "model.norm.weight",
                           "model.layers.0.self_attn.k_proj.weight"}) {
    const Scratch scratch;
    SmallLlama small(scratch / "hf");
    small.tensors.erase(name);
    small.save(scratch / "hf");
    const std::string said = message_of(
        [&] { models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF16); });
    EXPECT_NE(said.find(std::string(name).substr(6)), std::string::npos) << said;
    EXPECT_NE(said.find("hf/model.safetensors] expected a tensor"), std::string::npos) << said;
    EXPECT_EQ(scratch.files(), 1);  // the folder
  }
  const Scratch scratch;
  const SmallLlama small(scratch / "hf");
  Value config = SmallLlama::config();
  config["attention_bias"] = true;
  write_file(scratch / "hf" / "config.json", config.dump());
  const std::string said =
      message_of([&] { models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF16); });
  EXPECT_NE(said.find("self_attn.q_proj.bias"), std::string::npos) << said;
}

// Of a model that had yarn once: to llama.cpp a factor of 0 is none.
TEST(Gguf, AFactorOfZeroStretchesNothing) {
  const Scratch scratch;
  const SmallLlama small(scratch / "hf");
  models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF32);
  const Gguf whole = Gguf::open(scratch / "m.gguf");
  std::vector<std::pair<std::string, TensorSource>> tensors;
  for (const auto& [name, view] : whole.tensors()) tensors.emplace_back(name, source_of(view));
  Value metadata = whole.metadata();
  metadata["llama.rope.scaling.type"] = "linear";
  metadata["llama.rope.scaling.factor"] = 0.0;
  write_gguf(scratch / "zero.gguf", metadata, tensors);
  const headscope::Run plain = run_of(Model::load((scratch / "m.gguf").string()));
  EXPECT_EQ(apart(plain, run_of(Model::load((scratch / "zero.gguf").string()))), 0.0);
}

TEST(Gguf, ABrokenModelIsRefusedByTheNameOfItsTensor) {
  const Scratch scratch;
  SmallLlama small(scratch / "hf");
  models::convert_to_gguf(scratch / "hf", scratch / "whole.gguf", DType::kQ8_0);
  const Gguf whole = Gguf::open(scratch / "whole.gguf");
  const auto with = [&](const auto& change) {
    std::vector<std::pair<std::string, TensorSource>> tensors;
    for (const auto& [name, view] : whole.tensors()) tensors.emplace_back(name, source_of(view));
    change(tensors);
    write_gguf(scratch / "broken.gguf", whole.metadata(), tensors);
    return message_of([&] { Model::load((scratch / "broken.gguf").string()); });
  };
  const std::string missing = with([](auto& tensors) {
    std::erase_if(tensors, [](const auto& t) { return t.first == "blk.1.ffn_up.weight"; });
  });
  EXPECT_NE(missing.find("mlp.up_proj"), std::string::npos) << missing;
  const Tensor other = Tensor::zeros(DType::kF32, {kMlp, kWidth + 32});
  const std::string shape = with([&](auto& tensors) {
    for (auto& [name, source] : tensors)
      if (name == "blk.1.ffn_up.weight") source = source_of(other.any());
  });
  EXPECT_NE(shape.find("mlp.up_proj"), std::string::npos) << shape;
  Tensor blocks = Tensor::copy_of(whole.at("blk.1.ffn_up.weight"));
  blocks.raw()[34 * 5 + 1] = std::byte{0x7E};  // the factor of the sixth block
  const std::string nan = with([&](auto& tensors) {
    for (auto& [name, source] : tensors)
      if (name == "blk.1.ffn_up.weight") source = source_of(blocks.any());
  });
  EXPECT_NE(nan.find("layers.1.mlp.up_proj.weight"), std::string::npos) << nan;
  EXPECT_NE(nan.find("element 160"), std::string::npos) << nan;
}

TEST(Model, WeightsThatAreNoNumbersAreNamed) {
  const float kOdd[] = {std::numeric_limits<float>::quiet_NaN(),
                        std::numeric_limits<float>::infinity()};
  for (const float odd : kOdd) {
    const Scratch scratch;
    SmallLlama small(scratch / "hf");
    small.tensors.at("model.layers.1.mlp.down_proj.weight").span<float>()[1234] = odd;
    small.save(scratch / "hf");
    const std::string message = message_of([&] { Model::load((scratch / "hf").string()); });
    EXPECT_NE(message.find("model.layers.1.mlp.down_proj.weight"), std::string::npos) << message;
    EXPECT_NE(message.find("element 1234"), std::string::npos) << message;
  }
}

TEST(Model, AFolderOfSeveralGgufFilesIsAmbiguous) {
  const Scratch scratch;
  const SmallLlama small(scratch / "hf");
  fs::create_directories(scratch / "g");
  models::convert_to_gguf(scratch / "hf", scratch / "g/a.gguf", DType::kF16);
  EXPECT_EQ(Model::load((scratch / "g").string()).layers(), 2);
  models::convert_to_gguf(scratch / "hf", scratch / "g/b.gguf", DType::kF16);
  EXPECT_EQ(outcome([&] { Model::load((scratch / "g").string()); }), "usage");
}

}  // namespace
}  // namespace headscope
