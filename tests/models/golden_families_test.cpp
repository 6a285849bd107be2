// golden/families: tiny models with every hidden state, attention map and output of Transformers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "formats/scratch.h"
#include "golden/golden.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"
#include "models/weights.h"

namespace headscope {
namespace {

namespace fs = std::filesystem;

Tensor narrow(const AnyView& from, DType dtype) {
  Tensor to(dtype, from.shape);
  const auto ids = std::span(reinterpret_cast<const std::int64_t*>(from.data),
                             static_cast<std::size_t>(from.size()));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (dtype == DType::kU8)
      to.span<std::uint8_t>()[i] = ids[i] != 0 ? 1 : 0;
    else
      to.span<std::int32_t>()[i] = static_cast<std::int32_t>(ids[i]);
  }
  return to;
}

struct Reference {
  Safetensors io;
  std::set<std::string> inputs;
  Tokens tokens;
  double tolerance;

  explicit Reference(const fs::path& folder) : io(Safetensors::open(folder / "io.safetensors")) {
    if (io.find("input_ids") != nullptr) tokens.ids = narrow(io.at("input_ids"), DType::kI32);
    if (io.find("pixel_values") != nullptr) tokens.pixels = Tensor::copy_of(io.at("pixel_values"));
    if (io.find("input_features") != nullptr)
      tokens.features = Tensor::copy_of(io.at("input_features"));
    if (io.find("decoder_input_ids") != nullptr)
      tokens.decoder_ids = narrow(io.at("decoder_input_ids"), DType::kI32);
    if (io.find("decoder_attention_mask") != nullptr)
      tokens.decoder_mask = narrow(io.at("decoder_attention_mask"), DType::kU8);
    if (io.find("attention_mask") != nullptr)
      tokens.attention_mask = narrow(io.at("attention_mask"), DType::kU8);
    if (io.find("token_type_ids") != nullptr)
      tokens.type_ids = narrow(io.at("token_type_ids"), DType::kI32);
    if (io.find("position_ids") != nullptr)
      tokens.position_ids = narrow(io.at("position_ids"), DType::kI32);
    std::istringstream words(io.metadata().at("inputs"));
    for (std::string word; words >> word;) inputs.insert(word);
    tolerance = std::max(1e-5, 20.0 * std::stod(io.metadata().at("f32_noise")));
  }
  // Whether a row of a tensor counts: the decoder's, or one of what was read.
  [[nodiscard]] bool counts(const std::string& name, std::int64_t b, std::int64_t i) const {
    if (!tokens.pixels.empty() && !name.starts_with("text.")) return true;
    const bool decoder = !tokens.decoder_ids.empty() && !name.starts_with("encoder_");
    const Tensor& mask = decoder ? tokens.decoder_mask : tokens.attention_mask;
    return mask.empty() || mask.view<std::uint8_t, 2>()(b, i) != 0;
  }
};

// Rows of padded tokens carry no meaning.
void expect_rows(const Reference& r, const std::string& name, const Tensor& found) {
  const AnyView& expected = r.io.at(name);
  ASSERT_EQ(found.shape(), expected.shape) << name;
  const auto want = std::span(reinterpret_cast<const float*>(expected.data),
                              static_cast<std::size_t>(expected.size()));
  const std::int64_t B = expected.shape[0];
  const bool by_token = expected.shape.size() == 3;
  const std::int64_t T = by_token ? expected.shape[1] : 1;
  const std::int64_t C = expected.shape.back();
  double worst = 0.0;
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t i = 0; i < T; ++i) {
      if (by_token && !r.counts(name, b, i)) continue;
      for (std::int64_t c = 0; c < C; ++c) {
        const auto at = static_cast<std::size_t>((b * T + i) * C + c);
        worst = std::max(worst, std::abs(double{found.span<float>()[at]} - double{want[at]}));
      }
    }
  }
  EXPECT_LE(worst, r.tolerance) << name;
}

void expect_attentions(const Reference& r, const std::string& name, const FocusRecord& record) {
  const auto want = r.io.at(name).view<float, 4>();
  const auto [B, H, T, Tk] = want.shape;
  std::vector<float> row(static_cast<std::size_t>(Tk));
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t h = 0; h < H; ++h) {
      for (std::int64_t i = 0; i < T; ++i) {
        if (!r.counts(name, b, i)) continue;
        record.row(b, static_cast<int>(h), i, row);
        for (std::int64_t j = 0; j < Tk; ++j) {
          ASSERT_NEAR(row[static_cast<std::size_t>(j)], want(b, h, i, j), 1e-5) << name;
          if (want(b, h, i, j) == 0.0F) {
            ASSERT_EQ(row[static_cast<std::size_t>(j)], 0.0F) << name;
          }
        }
      }
    }
  }
}

// The layer whose weights Transformers call so.
std::size_t layer_named(const Model& m, const std::string& name) {
  int layer = 0;
  while (layer < m.layers() && m.attention_name(layer) != name) ++layer;
  return static_cast<std::size_t>(layer);
}

void check_case(const std::string& model, const fs::path& folder) {
  const Reference r(folder);
  const Model m = Model::load(model);
  const Sight sight = Sight::everything();
  RunOptions options;
  options.sight = &sight;
  options.hidden_states = true;
  options.router_logits = true;
  const headscope::Run run = m.run(r.tokens, options);
  int compared = 0;
  const auto encoders = static_cast<std::size_t>(m.encoder_layers());
  const auto decoders = static_cast<std::size_t>(m.decoder_layers());
  for (const auto& [name, tensor] : r.io.tensors()) {
    if (r.inputs.contains(name)) continue;
    const std::size_t dot = name.rfind('.');
    const std::string kind = name.substr(0, dot);
    const bool numbered = dot + 1 < name.size() && dot != std::string::npos &&
                          name.find_first_not_of("0123456789", dot + 1) == std::string::npos;
    const std::size_t n = numbered ? std::stoul(name.substr(dot + 1)) : 0;
    if (name == "last_hidden_state")
      expect_rows(r, name, run.last_hidden_state);
    else if (name == "pooler_output")
      expect_rows(r, name, run.pooler_output);
    else if (name == "logits")
      expect_rows(r, name, run.logits);
    else if (name == "encoder_last_hidden_state")
      expect_rows(r, name, run.encoder_last_hidden_state);
    else if (kind == "hidden_states" || kind == "decoder_hidden_states")
      expect_rows(r, name, run.hidden_states.at(n));
    else if (kind == "encoder_hidden_states")
      expect_rows(r, name, run.encoder_hidden_states.at(n));
    else if (kind == "router_logits")
      expect_rows(r, name, run.router_logits.at(n));
    else if (run.more.contains(name))
      expect_rows(r, name, run.more.at(name));
    else if (!r.tokens.pixels.empty() && kind.ends_with("attentions"))
      expect_attentions(r, name, run.sighting.layers.at(layer_named(m, name)));
    else if (kind == "attentions" || kind == "encoder_attentions")
      expect_attentions(r, name, run.sighting.layers.at(n));
    else if (kind == "decoder_attentions")
      expect_attentions(r, name, run.sighting.layers.at(encoders + n));
    else if (kind == "cross_attentions")
      expect_attentions(r, name, run.sighting.layers.at(encoders + decoders + n));
    else
      ADD_FAILURE() << "nothing to compare " << name << " with";
    ++compared;
  }
  EXPECT_GT(compared, 0);
}

TEST(GoldenFamilies, EveryCaseOfAKnownFamily) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  const std::vector<std::string> known = families();
  int ran = 0;
  for (const fs::path& folder : golden::folders("families")) {
    SCOPED_TRACE(folder.filename().string());
    const auto config = nlohmann::json::parse(read_file(folder / "config.json"));
    const std::string type = config.value("model_type", "");
    if (std::find(known.begin(), known.end(), type) == known.end()) {
      golden::leave_out(folder.filename().string(), "not yet: family " + type);
      continue;
    }
    check_case(folder.string(), folder);
    if (fs::exists(folder / "config.published.json"))
      check_case((folder / "config.published.json").string(), folder);
    ++ran;
  }
  EXPECT_GT(ran, 0);
}

// What loading says when these tensors are gone.
std::string without(const fs::path& folder, const std::vector<std::string>& names) {
  LoadOptions options;
  options.change = [&names](models::Tensors& tensors) {
    for (const std::string& name : names) tensors.by_name.erase(name);
  };
  try {
    (void)Model::load(folder.string(), options);
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing";
}

// A file without one of its biases describes another network, and so does one without all of a kind.
TEST(GoldenFamilies, AMissingBiasIsRefused) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  int refused = 0;
  for (const fs::path& folder : golden::folders("families")) {
    const Safetensors file = Safetensors::open(folder / "model.safetensors");
    std::map<std::string, std::vector<std::string>> kinds;  // names without the numbers of layers
    for (const auto& [name, view] : file.tensors()) {
      if (view.shape.size() != 1 || (!name.ends_with(".bias") && !name.ends_with(".beta")))
        continue;
      std::string kind;
      for (const char c : name) kind += c >= '0' && c <= '9' ? '0' : c;
      kinds[kind].push_back(name);
      kinds[name] = {name};
    }
    for (const auto& [kind, names] : kinds) {
      // There are Llamas with biases at queries, keys and values alone.
      const bool free = names.size() > 1 && kind.ends_with("o_proj.bias");
      if (free && folder.filename() == "llama_gqa") continue;
      const std::string found = without(folder, names);
      // Which of those that belong together is named is the loader's choice; that it is one of them is not.
      const bool named = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
        const std::size_t at = found.find("expected a tensor \"");
        if (at == std::string::npos) return false;
        const std::size_t begin = at + std::string("expected a tensor \"").size();
        const std::string said = found.substr(begin, found.find('"', begin) - begin);
        return name.ends_with(said.substr(0, said.rfind('.')) + name.substr(name.rfind('.')));
      });
      EXPECT_TRUE(named) << folder.filename() << ' ' << kind << ": " << found;
      ++refused;
    }
  }
  EXPECT_GT(refused, 200);
}

// The numbers that BART adds to its logits are zeros that files may leave out; Marian's are learned.
TEST(GoldenFamilies, OnlyBartMayLeaveOutWhatJoinsItsLogits) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  const fs::path all = golden::golden_dir() / "families";
  for (const char* family : {"bart", "mbart"})
    EXPECT_EQ(without(all / family, {"final_logits_bias"}), "nothing") << family;
  EXPECT_NE(without(all / "marian", {"final_logits_bias"}).find("final_logits_bias"),
            std::string::npos);
}

// Gemma 3 from 4B on is published as a text model inside one that reads pictures, too.
TEST(GoldenFamilies, TheTextPartOfGemma3IsGemma3) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  const fs::path golden = golden::golden_dir() / "families" / "gemma3_text";
  const Safetensors file = Safetensors::open(golden / "model.safetensors");
  const Reference reference(golden);
  const Tensor expected = Model::load(golden.string()).run(reference.tokens, {}).logits;
  const std::string kPrefixes[][2] = {{"language_model.model.", "language_model."},
                                      {"model.language_model.", ""}};
  for (const auto& [inner, outer] : kPrefixes) {
    const Scratch scratch;
    std::map<std::string, AnyView, std::less<>> views;
    for (const auto& [name, view] : file.tensors()) {
      const bool body = name.starts_with("model.");
      views.emplace(body ? inner + name.substr(6) : outer + name, view);
    }
    write_safetensors(scratch / "model.safetensors", views);
    const auto text = nlohmann::json::parse(read_file(golden / "config.json"));
    const nlohmann::json config = {{"model_type", "gemma3"},
                                   {"architectures", {"Gemma3ForConditionalGeneration"}},
                                   {"vision_config", {{"hidden_size", 16}}},
                                   {"text_config", text}};
    write_file(scratch / "config.json", config.dump());
    const Model model = Model::load(scratch.path().string());
    EXPECT_EQ(model.family(), "gemma3");
    EXPECT_TRUE(model.generates());
    const Tensor logits = model.run(reference.tokens, {}).logits;
    ASSERT_EQ(logits.shape(), expected.shape());
    for (std::size_t i = 0; i < expected.span<float>().size(); ++i)
      ASSERT_EQ(logits.span<float>()[i], expected.span<float>()[i]);
  }
}

// What the towers of CLIP and SigLIP are when each is published alone, and the vectors that they give.
TEST(GoldenFamilies, ATowerAloneGivesItsOwnVector) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  const struct {
    const char *family, *part, *architecture, *expected;
  } kCases[] = {{"clip", "text", "CLIPTextModelWithProjection", "text_embeds"},
                {"clip", "text", "CLIPTextModel", "text_embeds"},
                {"clip", "vision", "CLIPVisionModelWithProjection", "image_embeds"},
                {"clip", "vision", "CLIPVisionModel", "image_embeds"},
                {"siglip", "text", "SiglipTextModel", "text.pooler_output"},
                {"siglip", "vision", "SiglipVisionModel", "vision.pooler_output"}};
  for (const auto& one : kCases) {
    SCOPED_TRACE(one.architecture);
    const fs::path golden = golden::golden_dir() / "families" / one.family;
    const Reference r(golden);
    const Safetensors file = Safetensors::open(golden / "model.safetensors");
    const std::string part = one.part;
    const bool text = part == "text";
    const bool projected = std::string(one.architecture).ends_with("WithProjection");
    std::map<std::string, AnyView, std::less<>> views;
    for (const auto& [name, view] : file.tensors()) {
      const bool projection = name.starts_with(text ? "text_projection" : "visual_projection");
      if (name.starts_with(part + "_model.") || (projected && projection))
        views.emplace(name, view);
    }
    const auto whole = nlohmann::json::parse(read_file(golden / "config.json"));
    nlohmann::json config = whole[part + "_config"];
    config["architectures"] = {one.architecture};
    const Scratch scratch;
    write_safetensors(scratch / "model.safetensors", views);
    write_file(scratch / "config.json", config.dump());
    const Model model = Model::load(scratch.path().string());
    Tokens tokens;
    if (text) {
      tokens.ids = r.tokens.ids.clone();
      tokens.attention_mask = r.tokens.attention_mask.clone();
    } else {
      tokens.pixels = r.tokens.pixels.clone();
    }
    const headscope::Run run = model.run(tokens);
    const Tensor found = model.embedding(run, tokens.attention_mask);
    Tensor expected = Tensor::copy_of(r.io.at(one.expected));
    Tensor mapped = found.clone();
    if (!projected && one.family == std::string("clip")) {
      // What the projection, which is not in this file, would make of it.
      const AnyView& map = file.at(text ? "text_projection.weight" : "visual_projection.weight");
      const auto w = map.view<float, 2>();
      mapped = Tensor::zeros(DType::kF32, {found.dim(0), w.shape[0]});
      for (std::int64_t b = 0; b < found.dim(0); ++b) {
        for (std::int64_t n = 0; n < w.shape[0]; ++n) {
          for (std::int64_t c = 0; c < w.shape[1]; ++c)
            mapped.view<float, 2>()(b, n) += w(n, c) * found.view<float, 2>()(b, c);
        }
      }
    }
    ASSERT_EQ(mapped.shape(), expected.shape());
    for (Tensor* rows : {&expected, &mapped}) {
      for (std::int64_t b = 0; b < rows->dim(0); ++b) {
        const auto row = rows->view<float, 2>()[b];
        double squares = 0.0;
        for (std::int64_t c = 0; c < row.shape[0]; ++c) squares += std::pow(double{row(c)}, 2);
        if (rows == &mapped && mapped.shape() == found.shape()) {
          EXPECT_NEAR(squares, 1.0, 1e-5);
        }
        for (std::int64_t c = 0; c < row.shape[0]; ++c)
          row(c) = static_cast<float>(double{row(c)} / std::sqrt(squares));
      }
    }
    for (std::size_t n = 0; n < expected.span<float>().size(); ++n)
      EXPECT_NEAR(mapped.span<float>()[n], expected.span<float>()[n], 1e-5F);
    if (!text) continue;
    // Many texts at once, each as it is alone; SigLIP's are filled up.
    nlohmann::json vocab;
    for (std::int64_t id = 0; id < model.vocabulary(); ++id) vocab["w" + std::to_string(id)] = id;
    const nlohmann::json tokenizer = {
        {"version", "1.0"},
        {"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
        {"model", {{"type", "WordLevel"}, {"vocab", vocab}, {"unk_token", "w0"}}}};
    write_file(scratch / "tokenizer.json", tokenizer.dump());
    const Model reads = Model::load(scratch.path().string());
    const std::vector<std::string> texts = {"w3 w4 w5", "w9", "w70 w6 w7", "w8 w2 w2 w11 w3"};
    const Tensor all = reads.embed(texts);
    for (std::size_t n = 0; n < texts.size(); ++n) {
      std::vector<Label> labels;
      const Tokens words = reads.tokens(texts[n], &labels);
      EXPECT_EQ(static_cast<std::int64_t>(labels.size()), words.ids.dim(1));
      const bool filled = std::string(one.family) == "siglip";
      if (filled) {
        EXPECT_EQ(words.ids.dim(1), reads.positions());
        EXPECT_EQ(words.ids.span<std::int32_t>().back(), 0);  // pad_token_id
        EXPECT_TRUE(labels.back().special);
      }
      const Tensor alone = reads.embedding(reads.run(words));
      ASSERT_EQ(alone.dim(1), all.dim(1));
      const auto row = all.view<float, 2>()[static_cast<std::int64_t>(n)];
      for (std::int64_t c = 0; c < row.shape[0]; ++c)
        EXPECT_NEAR(row(c), alone.span<float>()[static_cast<std::size_t>(c)], 1e-5F);
    }
  }
}

}  // namespace
}  // namespace headscope
