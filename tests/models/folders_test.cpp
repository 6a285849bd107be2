// Folders as they are published: bodies that lost their heads, halves of pairs, poolings of all kinds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "formats/bytes.h"
#include "formats/json.h"
#include "formats/scratch.h"
#include "headscope/generate.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"
#include "models/census.h"
#include "models/find.h"
#include "models/gguf_convert.h"
#include "models/model_files.h"
#include "models/tiny_pair.h"

namespace headscope {
namespace {

using json::Value;

/// A model of random weights as config.json describes it, without the tensors that `gone` names.
void write_folder(const Scratch& to,
                  const Value& config,
                  const std::function<bool(const std::string&)>& gone = {}) {
  const models::Blueprint b = models::read_blueprint(config);
  const models::Census census = models::census(b, config, models::architecture_of(config));
  models::Tensors tensors = models::drawn(census, DType::kF32, b.matrices);
  if (gone) std::erase_if(tensors.by_name, [&](const auto& one) { return gone(one.first); });
  write_safetensors(to / "model.safetensors", tensors.by_name);
  write_file(to / "config.json", config.dump());
}

Value bert_like(const std::string& type, const std::string& architecture) {
  return {{"model_type", type},
          {"architectures", {architecture}},
          {"hidden_size", 32},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"intermediate_size", 48},
          {"vocab_size", 40},
          {"max_position_embeddings", 24},
          {"type_vocab_size", 1},
          {"pad_token_id", 1}};
}

Value llama_like(const std::string& type, const Value& more = Value::object()) {
  Value config = {{"model_type", type},
                  {"hidden_size", 32},
                  {"num_hidden_layers", 2},
                  {"num_attention_heads", 4},
                  {"num_key_value_heads", 2},
                  {"intermediate_size", 48},
                  {"vocab_size", 40},
                  {"max_position_embeddings", 24}};
  config.update(more);
  return config;
}

Tokens row_of(std::int32_t length) {
  Tokens tokens;
  tokens.ids = Tensor(DType::kI32, {1, length});
  for (std::int32_t i = 0; i < length; ++i)
    tokens.ids.span<std::int32_t>()[static_cast<std::size_t>(i)] = 2 + i * 7 % 38;
  return tokens;
}

double apart(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.shape(), b.shape());
  if (a.shape() != b.shape()) return HUGE_VAL;
  double worst = 0.0;
  for (std::size_t i = 0; i < a.span<float>().size(); ++i)
    worst = std::max(worst, std::abs(double{a.span<float>()[i]} - double{b.span<float>()[i]}));
  return worst;
}

/// What the Error a call throws says; "" : it throws none.
template <typename Call>
std::string complaint(Call call) {
  const std::string said = message_of(call);
  return said == "nothing was thrown" ? "" : said;
}

std::string load_message(const Scratch& folder) {
  return complaint([&] { (void)Model::load(folder.path().string()); });
}

// Sentence Transformers publish such: the class is that of the pretrained model, its head is not in the file.
TEST(Folders, ABodyWithoutTheHeadOfItsClassIsABody) {
  const std::pair<const char*, const char*> kClasses[] = {{"mpnet", "MPNetForMaskedLM"},
                                                          {"roberta", "RobertaForMaskedLM"},
                                                          {"bert", "BertForMaskedLM"},
                                                          {"bert", "BertForTokenClassification"}};
  for (const auto& [type, architecture] : kClasses) {
    SCOPED_TRACE(architecture);
    const auto is_head = [](const std::string& name) {
      return name.starts_with("lm_head.") || name.starts_with("cls.") ||
             name.starts_with("classifier.");
    };
    const Scratch whole, body;
    write_folder(whole, bert_like(type, architecture));
    write_folder(body, bert_like(type, architecture), is_head);
    const headscope::Run expected = Model::load(whole.path().string()).run(row_of(9));
    const headscope::Run found = Model::load(body.path().string()).run(row_of(9));
    EXPECT_FALSE(expected.logits.empty());
    EXPECT_TRUE(found.logits.empty());
    EXPECT_EQ(apart(found.last_hidden_state, expected.last_hidden_state), 0.0);
  }
  // Half a head is a broken file.
  for (const std::string part : {"lm_head.dense.weight", "lm_head.layer_norm.weight"}) {
    const Scratch half;
    write_folder(half, bert_like("roberta", "RobertaForMaskedLM"), [&](const std::string& name) {
      return name == part;
    });
    EXPECT_NE(load_message(half).find(part), std::string::npos) << load_message(half);
  }
  // A decoder without its last matrix foretells nothing, whether or not there are other tensors of its head.
  const Scratch decoder;
  write_folder(decoder, llama_like("llama"), [](const std::string& name) {
    return name == "lm_head.weight";
  });
  EXPECT_NE(load_message(decoder).find("lm_head.weight"), std::string::npos);
}

TEST(Folders, BiasesThatConfigPromisesAreMissed) {
  const struct {
    Value config;
    const char* ending;
    const char* missed;
  } kCases[] = {
      {llama_like("llama", {{"attention_bias", true}}),
       "q_proj.bias k_proj.bias v_proj.bias",
       "_proj.bias"},
      {llama_like("llama", {{"mlp_bias", true}}),
       "up_proj.bias gate_proj.bias down_proj.bias",
       "_proj.bias"},
      {llama_like("qwen3", {{"attention_bias", true}}), "_proj.bias", "self_attn."},
      {llama_like("starcoder2", {{"use_bias", true}}), "_proj.bias c_fc.bias", "bias"},
      {llama_like("qwen2_moe",
                  {{"qkv_bias", true},
                   {"num_experts", 4},
                   {"num_experts_per_tok", 2},
                   {"moe_intermediate_size", 16},
                   {"shared_expert_intermediate_size", 16}}),
       "_proj.bias",
       "_proj.bias"},
  };
  for (const auto& one : kCases) {
    SCOPED_TRACE(one.config.dump());
    const std::string endings = one.ending;
    const auto gone = [&](const std::string& name) {
      for (std::size_t at = 0; at < endings.size();) {
        const std::size_t end = std::min(endings.find(' ', at), endings.size());
        if (name.ends_with(endings.substr(at, end - at))) return true;
        at = end + 1;
      }
      return false;
    };
    const Scratch whole, less;
    write_folder(whole, one.config);
    EXPECT_EQ(load_message(whole), "");
    write_folder(less, one.config, gone);
    const std::string said = load_message(less);
    EXPECT_NE(said.find("expected a tensor \""), std::string::npos) << said;
    EXPECT_NE(said.find(one.missed), std::string::npos) << said;
    EXPECT_NE(said.find(".bias\", found none"), std::string::npos) << said;
  }
  // Where config.json says nothing, the file may have none.
  const Scratch silent;
  write_folder(silent, llama_like("llama"));
  EXPECT_EQ(load_message(silent), "");
  // Mistral has none in any case.
  const Scratch other;
  write_folder(other,
               llama_like("mistral", {{"attention_bias", true}}),
               [](const std::string& name) { return name.ends_with(".bias"); });
  EXPECT_EQ(load_message(other), "");
}

// A folder whose vectors would be others is a model all the same: only its vectors are refused.
TEST(Folders, PoolingThatIsUnknownIsRefusedWhereAVectorIsAskedFor) {
  const Scratch folder;
  write_folder(folder, bert_like("bert", "BertModel"));
  std::filesystem::create_directory(folder / "1_Pooling");
  const auto said = [&](const Value& pooling, const Value& modules) {
    write_file(folder / "1_Pooling" / "config.json", pooling.dump());
    write_file(folder / "modules.json", modules.dump());
    const Model model = Model::load(folder.path().string());
    const headscope::Run run = model.run(row_of(7));
    const std::string vector = complaint([&] { (void)model.embedding(run); });
    const std::string gguf =
        complaint([&] { models::convert_to_gguf(folder.path(), folder / "m.gguf", DType::kF32); });
    EXPECT_EQ(vector.empty(), gguf.empty()) << vector << " / " << gguf;
    EXPECT_EQ(gguf.empty(), std::filesystem::exists(folder / "m.gguf"));
    std::filesystem::remove(folder / "m.gguf");
    return vector;
  };
  const auto module = [](const std::string& type) -> Value {
    return {{"type", "sentence_transformers.models." + type}};
  };
  const Value plain = {module("Transformer"), module("Pooling"), module("Normalize")};
  const Value mean = {{"pooling_mode_mean_tokens", true}, {"pooling_mode_cls_token", false}};
  EXPECT_EQ(said(mean, plain), "");
  EXPECT_EQ(said(Value::object(), plain), "");
  for (const char* mode : {"weightedmean_tokens", "mean_sqrt_len_tokens"}) {
    const Value pooling = {{std::string("pooling_mode_") + mode, true}};
    EXPECT_NE(said(pooling, plain).find(mode), std::string::npos) << mode;
  }
  const Value both = {{"pooling_mode_mean_tokens", true}, {"pooling_mode_cls_token", true}};
  EXPECT_NE(said(both, plain).find("cls_token and mean_tokens"), std::string::npos);
  const Value dense = {module("Transformer"), module("Pooling"), module("Dense")};
  EXPECT_NE(said(mean, dense).find("a module Dense"), std::string::npos);
}

// The half that reads, as makers of pictures take it: T5EncoderModel.
TEST(Folders, AnEncoderOfT5AloneGivesWhatItGivesInThePair) {
  const test::TinyPair pair(test::TinyPair::Kind::kT5);
  const Safetensors file = Safetensors::open(pair.folder() / "model.safetensors");
  Value config = json::parse(read_file(pair.folder() / "config.json"), "config.json");
  config["architectures"] = {"T5EncoderModel"};
  std::map<std::string, AnyView, std::less<>> views = file.tensors();
  std::erase_if(views, [](const auto& one) { return one.first.starts_with("decoder."); });
  Tokens tokens = row_of(11);
  for (std::int32_t& id : tokens.ids.span<std::int32_t>()) id %= 30;
  const Model whole = pair.load();
  const headscope::Run expected = whole.run(tokens);
  for (const bool shared : {true, false}) {
    if (!shared) {
      auto words = views.extract("shared.weight");
      words.key() = "encoder.embed_tokens.weight";
      views.insert(std::move(words));
    }
    const Scratch folder;
    write_safetensors(folder / "model.safetensors", views);
    write_file(folder / "config.json", config.dump());
    const Model alone = Model::load(folder.path().string());
    EXPECT_FALSE(alone.generates());
    EXPECT_EQ(alone.layers(), 2);
    const headscope::Run found = alone.run(tokens);
    EXPECT_EQ(apart(found.last_hidden_state, expected.encoder_last_hidden_state), 0.0);
    EXPECT_EQ(apart(alone.embedding(found), whole.embedding(expected)), 0.0);
  }
}

// What tells words apart has no decoder, and its names begin with another word.
TEST(Folders, AnEncoderOfT5ThatTellsWordsApartAsksForNoDecoder) {
  const test::TinyPair pair(test::TinyPair::Kind::kT5);
  const Safetensors file = Safetensors::open(pair.folder() / "model.safetensors");
  Value config = json::parse(read_file(pair.folder() / "config.json"), "config.json");
  config["architectures"] = {"T5ForTokenClassification"};
  config["id2label"] = {{"0", "noun"}, {"1", "verb"}, {"2", "other"}};
  std::map<std::string, AnyView, std::less<>> views;
  for (const auto& [name, view] : file.tensors()) {
    if (!name.starts_with("decoder.")) views.emplace("transformer." + name, view);
  }
  Tensor weight(DType::kF32, {3, 16});
  Tensor bias(DType::kF32, {3});
  for (std::int64_t i = 0; i < 48; ++i)
    weight.span<float>()[static_cast<std::size_t>(i)] = static_cast<float>(i % 7) - 3.0F;
  for (std::size_t i = 0; i < 3; ++i) bias.span<float>()[i] = static_cast<float>(i);
  views.emplace("classifier.weight", weight.any());
  views.emplace("classifier.bias", bias.any());
  const Scratch folder;
  write_safetensors(folder / "model.safetensors", views);
  write_file(folder / "config.json", config.dump());
  Tokens tokens = row_of(11);
  for (std::int32_t& id : tokens.ids.span<std::int32_t>()) id %= 30;
  const Model model = Model::load(folder.path().string());
  const headscope::Run found = model.run(tokens);
  const headscope::Run expected = pair.load().run(tokens);
  EXPECT_EQ(apart(found.last_hidden_state, expected.encoder_last_hidden_state), 0.0);
  ASSERT_EQ(found.logits.shape(), (Shape{1, 11, 3}));
  EXPECT_EQ(model.label(1), "verb");
  double worst = 0.0;
  for (std::int64_t t = 0; t < 11; ++t) {
    for (std::int64_t n = 0; n < 3; ++n) {
      double sum = double{bias.span<float>()[static_cast<std::size_t>(n)]};
      for (std::int64_t c = 0; c < 16; ++c)
        sum += double{found.last_hidden_state.view<float, 3>()(0, t, c)} *
               double{weight.view<float, 2>()(n, c)};
      worst = std::max(worst, std::abs(sum - double{found.logits.view<float, 3>()(0, t, n)}));
    }
  }
  EXPECT_LE(worst, 1e-4);
  views.erase("classifier.bias");
  write_safetensors(folder / "model.safetensors", views);
  EXPECT_NE(load_message(folder).find("\"classifier.bias\""), std::string::npos);
}

// VideoMAE's are called otherwise than the maps they belong to, and keys have none.
TEST(Folders, BiasesThatVideoMaePromisesAreMissed) {
  std::map<std::string, Tensor> tensors;
  const auto put = [&](const std::string& name, const Shape& shape) {
    Tensor t(DType::kF32, shape);
    std::ranges::fill(t.span<float>(), 0.1F);
    tensors.emplace("videomae." + name, std::move(t));
  };
  const auto linear = [&](const std::string& name, std::int64_t in, std::int64_t out) {
    put(name + ".weight", {out, in});
    put(name + ".bias", {out});
  };
  put("embeddings.patch_embeddings.projection.weight", {8, 3, 2, 4, 4});
  put("embeddings.patch_embeddings.projection.bias", {8});
  put("layernorm.weight", {8});
  put("layernorm.bias", {8});
  for (const std::string layer : {"encoder.layer.0.", "encoder.layer.1."}) {
    for (const char* map : {"query", "key", "value"})
      put(layer + "attention.attention." + map + ".weight", {8, 8});
    put(layer + "attention.attention.q_bias", {8});
    put(layer + "attention.attention.v_bias", {8});
    linear(layer + "attention.output.dense", 8, 8);
    linear(layer + "intermediate.dense", 8, 12);
    linear(layer + "output.dense", 12, 8);
    for (const char* norm : {"layernorm_before", "layernorm_after"}) {
      put(layer + norm + ".weight", {8});
      put(layer + norm + ".bias", {8});
    }
  }
  Value config = {{"model_type", "videomae"},
                  {"architectures", {"VideoMAEModel"}},
                  {"hidden_size", 8},
                  {"num_hidden_layers", 2},
                  {"num_attention_heads", 2},
                  {"intermediate_size", 12},
                  {"image_size", 8},
                  {"patch_size", 4},
                  {"num_frames", 4},
                  {"tubelet_size", 2},
                  {"use_mean_pooling", false}};
  const Scratch folder;
  const auto said = [&](const std::string& gone) {
    std::map<std::string, AnyView, std::less<>> views;
    for (const auto& [name, tensor] : tensors) {
      if (gone.empty() || !name.ends_with(gone)) views.emplace(name, tensor.any());
    }
    write_safetensors(folder / "model.safetensors", views);
    write_file(folder / "config.json", config.dump());
    return load_message(folder);
  };
  for (const char* word : {"qkv_bias", "qv_bias"}) {
    config[word] = true;
    EXPECT_EQ(said(""), "");
    EXPECT_NE(said("_bias").find("attention.q_bias\""), std::string::npos) << said("_bias");
    EXPECT_NE(said("v_bias").find("attention.v_bias\""), std::string::npos) << said("v_bias");
    EXPECT_NE(said("layer.1.attention.attention.q_bias").find("layer.1."), std::string::npos);
    config[word] = false;
    EXPECT_EQ(said("_bias"), "");
    config.erase(word);
  }
}

// Of RoBERTa's table of 24 rows two are for padding: a context of 22 tokens.
TEST(Folders, ADecoderThatSkipsPaddingHasAContextOfAsManyTokensAsItTakes) {
  Value config = bert_like("roberta", "RobertaForCausalLM");
  config["is_decoder"] = true;
  const Scratch folder;
  write_folder(folder, config);
  const Model model = Model::load(folder.path().string());
  EXPECT_TRUE(model.generates());
  EXPECT_EQ(model.positions(), 22);
  GenerateOptions options;
  options.positions = 23;
  const std::string said = complaint([&] { (void)Generator(model, options); });
  EXPECT_NE(said.find("at most 22 tokens"), std::string::npos) << said;
  options.positions = 22;
  options.most = 90;
  Generator generator(model, options);
  generator.read(std::vector<std::int32_t>{3, 4, 5});
  while (generator.step()) continue;
  EXPECT_EQ(generator.ended(), Ended::kFull);
  EXPECT_EQ(generator.length(), 22);
}

TEST(Folders, ModelsUnderTheCurrentFolderAreFoundLast) {
  const Scratch folder;
  const std::filesystem::path one = folder.path() / "models" / "a-model-of-this-test";
  std::filesystem::create_directories(one);
  write_file(one / "config.json", "{}");
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  const auto shelves = models::shelves();
  const std::string said = complaint(
      [&] { EXPECT_TRUE(std::filesystem::equivalent(models::find(one.filename()).folder, one)); });
  std::filesystem::current_path(before);
  EXPECT_EQ(said, "");
  ASSERT_FALSE(shelves.empty());
  EXPECT_TRUE(std::filesystem::equivalent(shelves.back(), folder.path() / "models"));
}

TEST(Folders, AnAttentionFactorIsAboveZero) {
  for (const Value& factor : {Value(0.0), Value(-1.0), Value(1.5)}) {
    const Value scaling = {{"rope_type", "yarn"},
                           {"factor", 4.0},
                           {"original_max_position_embeddings", 6},
                           {"attention_factor", factor}};
    const std::string said = complaint([&] {
      (void)models::read_blueprint(llama_like("llama", {{"rope_scaling", scaling}}));
    });
    EXPECT_EQ(said.find("attention_factor above 0") == std::string::npos, factor == 1.5) << said;
  }
}

}  // namespace
}  // namespace headscope
