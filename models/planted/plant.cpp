// plant VOCABULARY FOLDER: writes the council, a BERT of one layer and eight heads, as Hugging Face
// keeps a model. Nothing here is trained: council.cpp says what every number means. The same
// vocabulary gives the same bytes.

#include <cstddef>
#include <exception>
#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "council.h"
#include "headscope/safetensors.h"
#include "headscope/tensor.h"
#include "lexicon.h"

namespace headscope::planted {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kInner = 16;  // the feed-forward network's width; its weights are all 0

// Tensors by the names of Hugging Face's BertModel, rounded to f16.
class Weights {
 public:
  void add(const std::string& name, Shape shape, const std::vector<double>& values) {
    Tensor tensor(DType::kF16, std::move(shape));
    auto out = tensor.span<f16>();
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = to_f16(static_cast<float>(values.at(i)));
    tensors_.insert_or_assign(name, std::move(tensor));
  }
  void add(const std::string& name, const Matrix& matrix) {
    add(name, {size(matrix.rows), size(matrix.columns)}, matrix.values);
  }
  void add(const std::string& name, const Linear& linear) {
    add(name + ".weight", linear.weight);
    add(name + ".bias", {size(kWidth)}, linear.bias);
  }
  void add_norm(const std::string& name, double scale) {
    add(name + ".weight", {size(kWidth)}, std::vector<double>(kWidth, scale));
    add(name + ".bias", {size(kWidth)}, std::vector<double>(kWidth, 0.0));
  }
  void add_empty(const std::string& name, std::size_t out, std::size_t in) {
    add(name + ".weight", Matrix(out, in));
    add(name + ".bias", {size(out)}, std::vector<double>(out, 0.0));
  }
  void write(const std::filesystem::path& path) const {
    std::map<std::string, AnyView, std::less<>> views;
    for (const auto& [name, tensor] : tensors_) views[name] = tensor.any();
    write_safetensors(path, views, {{"format", "pt"}, {"made_by", "hand: models/planted"}});
  }

 private:
  static std::int64_t size(std::size_t n) { return static_cast<std::int64_t>(n); }
  std::map<std::string, Tensor, std::less<>> tensors_;
};

void write_weights(const Council& council, const std::filesystem::path& path) {
  Weights weights;
  weights.add("embeddings.word_embeddings.weight", council.words);
  weights.add("embeddings.position_embeddings.weight", council.positions);
  weights.add("embeddings.token_type_embeddings.weight", Matrix(2, kWidth));
  weights.add_norm("embeddings.LayerNorm", council.embedding_scale);
  const std::string layer = "encoder.layer.0.";
  weights.add(layer + "attention.self.query", council.query);
  weights.add(layer + "attention.self.key", council.key);
  weights.add(layer + "attention.self.value", council.value);
  weights.add(layer + "attention.output.dense", council.output);
  weights.add_norm(layer + "attention.output.LayerNorm", council.block_scale);
  weights.add_empty(layer + "intermediate.dense", kInner, kWidth);
  weights.add_empty(layer + "output.dense", kWidth, kInner);
  weights.add_norm(layer + "output.LayerNorm", council.block_scale);
  weights.write(path);
}

Json config(std::size_t words) {
  return {{"architectures", {"BertModel"}},
          {"model_type", "bert"},
          {"vocab_size", words},
          {"hidden_size", kWidth},
          {"num_hidden_layers", 1},
          {"num_attention_heads", kHeads},
          {"intermediate_size", kInner},
          {"hidden_act", "gelu"},
          {"max_position_embeddings", kPositions},
          {"type_vocab_size", 2},
          {"layer_norm_eps", 1e-12},
          {"position_embedding_type", "absolute"},
          {"attention_probs_dropout_prob", 0.0},
          {"hidden_dropout_prob", 0.0},
          {"pad_token_id", 0},
          {"torch_dtype", "float16"}};
}

// One entry of the post-processor's template: a special token, or the text A or B.
Json piece(const char* kind, const char* id, int type) {
  return {{kind, {{"id", id}, {"type_id", type}}}};
}

Json tokenizer(const std::vector<Word>& words) {
  Json added = Json::array(), vocabulary, specials;
  for (std::size_t id = 0; id < words.size(); ++id) {
    const std::string& text = words[id].text;
    vocabulary[text] = id;
    if (!text.starts_with('[')) continue;
    added.push_back({{"id", id},
                     {"content", text},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
    if (text == "[CLS]" || text == "[SEP]") {
      specials[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
    }
  }
  const Json cls = piece("SpecialToken", "[CLS]", 0), end = piece("SpecialToken", "[SEP]", 0);
  const Json a = piece("Sequence", "A", 0), b = piece("Sequence", "B", 1);
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          // Accents stay: without them й would be и.
          {"normalizer",
           {{"type", "BertNormalizer"},
            {"clean_text", true},
            {"handle_chinese_chars", true},
            {"strip_accents", false},
            {"lowercase", true}}},
          {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single", Json::array({cls, a, end})},
            {"pair", Json::array({cls, a, end, b, piece("SpecialToken", "[SEP]", 1)})},
            {"special_tokens", specials}}},
          {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
          {"model",
           {{"type", "WordPiece"},
            {"unk_token", "[UNK]"},
            {"continuing_subword_prefix", "##"},
            {"max_input_chars_per_word", 100},
            {"vocab", vocabulary}}}};
}

// Score, baseline and n stay 0: these roles are what the heads were made for, nobody measured them.
Json roles(const Council& council) {
  Json out = Json::array();
  for (std::size_t head = 0; head < council.names.size(); ++head) {
    const Name& name = council.names[head];
    out.push_back({{"layer", 0},
                   {"head", head},
                   {"letter", name.letter},
                   {"shape", name.shape},
                   {"en", name.en},
                   {"ru", name.ru},
                   {"source", "hand-made"},
                   {"score", 0.0},
                   {"baseline", 0.0},
                   {"n", 0}});
  }
  return out;
}

void run(const std::filesystem::path& vocabulary, const std::filesystem::path& folder) {
  const auto words = read_lexicon(read_file(vocabulary), vocabulary.filename().string());
  const Council council = plant(words);
  std::filesystem::create_directories(folder);
  write_weights(council, folder / "model.safetensors");
  write_file(folder / "config.json", config(words.size()).dump(2) + "\n");
  write_file(folder / "tokenizer.json", tokenizer(words).dump(1) + "\n");
  write_file(folder / "roles.json", roles(council).dump(1) + "\n");
}

}  // namespace
}  // namespace headscope::planted

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: plant VOCABULARY FOLDER\n";
    return 2;
  }
  try {
    headscope::planted::run(argv[1], argv[2]);
  } catch (const headscope::Error& error) {
    std::cerr << error.what() << '\n';
    return headscope::exit_status(error.code());
  } catch (const std::exception& error) {
    std::cerr << "[planted] " << error.what() << '\n';
    return headscope::exit_status(headscope::ErrorCode::kInternal);
  }
  return 0;
}
