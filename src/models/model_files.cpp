#include "models/model_files.h"

#include <fmt/format.h>

#include <algorithm>

#include "headscope/gguf.h"
#include "headscope/safetensors.h"
#include "models/encoder_decoder.h"
#include "models/finite.h"
#include "models/gguf_tensors.h"
#include "models/towers.h"
#include "models/vision.h"

namespace headscope::models {

namespace {

namespace fs = std::filesystem;
using json::Value;

ModelFiles open_gguf(const Place& place) {
  struct Kept {
    Gguf file;
    GgufModel model;
  };
  const auto kept = std::make_shared<Kept>(Kept{Gguf::open(place.weights), {}});
  kept->model = model_from_gguf(kept->file, true);
  ModelFiles out;
  out.config = std::move(kept->model.config);
  out.tensors = {kept->file.name(), std::move(kept->model.tensors), kept};
  out.tensors.own_name = [kept](std::string_view name) { return gguf_name(kept->file, name); };
  out.stored = kept->model.stored;
  out.metadata = std::shared_ptr<const Value>(kept, &kept->file.metadata());
  return out;
}

std::optional<Value> json_at(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return std::nullopt;
  return json::parse(read_file(path, std::size_t{1} << 20), path.filename().string());
}

}  // namespace

ModelFiles open_model(const Place& place, bool finite) {
  ModelFiles out;
  if (place.weights.extension() == ".gguf") {
    out = open_gguf(place);
  } else {
    const std::string name = place.config.filename().string();
    out.config = json::parse(read_file(place.config, std::size_t{16} << 20), name);
    out.tensors = Tensors::of(Safetensors::open(place.weights));
  }
  if (finite) check_finite(out.tensors);
  return out;
}

std::string architecture_of(const Value& config) {
  const Value* list = json::find(config, "architectures", "config.json");
  if (list == nullptr || !list->is_array() || list->empty() || !list->front().is_string())
    return "";
  return list->front().get<std::string>();
}

namespace {

// The half of a pair that reads: T5EncoderModel, as makers of pictures have it, and what tells words apart.
bool reads_alone(const PairBlueprint& pair, const std::string& architecture) {
  return !pair.speech && (architecture.ends_with("EncoderModel") ||
                          architecture.ends_with("T5ForTokenClassification"));
}

std::unique_ptr<const Network> encoder_alone(PairBlueprint pair,
                                             Tensors tensors,
                                             const std::string& architecture) {
  const Blueprint& encoder = pair.encoder;
  auto weights = std::make_shared<Weights>(std::move(tensors), encoder.prefixes, encoder.matrices);
  for (const std::string& name : pair.shared_words) {
    if (weights->find(name + ".weight") == nullptr) continue;
    pair.encoder.word_embeddings = name;
    break;
  }
  return std::make_unique<Transformer>(std::move(pair.encoder), std::move(weights), architecture);
}

}  // namespace

std::unique_ptr<const Network> read_network(ModelFiles& files) {
  const std::string architecture = architecture_of(files.config);
  auto pair = read_pair(files.config);
  if (pair && reads_alone(*pair, architecture))
    return encoder_alone(std::move(*pair), std::move(files.tensors), architecture);
  if (pair)
    return std::make_unique<EncoderDecoder>(
        std::move(*pair), std::move(files.tensors), architecture);
  if (auto vision = read_vision(files.config, architecture))
    return std::make_unique<Vision>(std::move(*vision), std::move(files.tensors));
  if (auto towers = read_towers(files.config, architecture))
    return std::make_unique<Towers>(std::move(*towers), std::move(files.tensors));
  if (auto text = read_text_tower(files.config, architecture))
    return std::make_unique<TextTower>(std::move(*text), std::move(files.tensors));
  return std::make_unique<Transformer>(
      read_blueprint(files.config, files.stored), std::move(files.tensors), architecture);
}

std::vector<Role> read_roles(const fs::path& path, const Network& network) {
  const auto layers = static_cast<std::int64_t>(network.layers());
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return {};
  const Value all = json::parse(read_file(path, std::size_t{1} << 20), "roles.json");
  if (!all.is_array()) throw Error(ErrorCode::kFormat, "[roles.json] expected an array of roles");
  std::vector<Role> roles;
  for (const Value& one : all) {
    const std::string where = "roles.json";
    Role role;
    role.layer = json::require<int>(one, "layer", where);
    role.head = json::require<int>(one, "head", where);
    role.letter = json::require<std::string>(one, "letter", where);
    role.shape = json::get_or<std::string>(one, "shape", "circle", where);
    role.en = json::require<std::string>(one, "en", where);
    role.ru = json::get_or<std::string>(one, "ru", role.en, where);
    role.source = json::require<std::string>(one, "source", where);
    role.source_ru = json::get_or<std::string>(one, "source_ru", "", where);
    role.score = json::get_or<double>(one, "score", 0.0, where);
    role.baseline = json::get_or<double>(one, "baseline", 0.0, where);
    role.n = json::get_or<std::int64_t>(one, "n", 0, where);
    const bool there = role.layer >= 0 && role.layer < layers;
    const std::int64_t heads =
        network.facts(there ? static_cast<std::size_t>(role.layer) : 0).heads;
    if (!there || role.head < 0 || role.head >= heads) {
      throw Error(ErrorCode::kRange,
                  fmt::format("[roles.json] expected layers 0..{} and heads 0..{}, found {}.{}",
                              layers - 1,
                              heads - 1,
                              role.layer,
                              role.head));
    }
    roles.push_back(std::move(role));
  }
  return roles;
}

namespace {

constexpr const char* kGgufTokens = "tokenizer.ggml.tokens";

// The tokens of a GGUF are one for every row of the embeddings. Of folders, published tables are padded (phi-2 by 905 rows,
// deepseek_v2 by 2398), and tokens were added beyond some (gemma3 by one that stands for pictures).
void check_size(const Tokenizer& tokenizer, const ModelFiles& files, std::int64_t vocabulary) {
  std::int64_t found = tokenizer.vocabulary_size();
  std::int64_t least = vocabulary - std::max<std::int64_t>(1024, vocabulary / 32);
  std::int64_t most = vocabulary + vocabulary / 1024;
  const Value* tokens =
      files.metadata == nullptr ? nullptr : json::find(*files.metadata, kGgufTokens, "model");
  if (tokens != nullptr) {
    found = static_cast<std::int64_t>(tokens->size());
    least = most = vocabulary;
  }
  if (found >= least && found <= most) return;
  throw Error(
      ErrorCode::kFormat,
      fmt::format("[model] expected a tokenizer of {}{} tokens, found {}: of another model?",
                  least == most || found > most ? "" : fmt::format("{} to ", least),
                  vocabulary,
                  found));
}

}  // namespace

std::optional<Tokenizer> read_tokenizer(const Place& place,
                                        const ModelFiles& files,
                                        std::int64_t vocabulary) {
  std::optional<Tokenizer> out;
  std::error_code ignored;
  if (files.metadata != nullptr && files.metadata->contains(kGgufTokens))
    out.emplace(Tokenizer::from_gguf(*files.metadata, place.weights.filename().string()));
  else if (fs::exists(place.folder / "tokenizer.json", ignored) ||
           (fs::exists(place.folder / "source.spm", ignored) &&
            fs::exists(place.folder / "vocab.json", ignored)))
    out.emplace(Tokenizer::load(place.folder));
  if (out) check_size(*out, files, vocabulary);
  return out;
}

std::vector<std::string> read_labels(const Value& config) {
  constexpr std::size_t kMost = 1'000'000;
  const Value* names = json::find(config, "id2label", "config.json");
  std::vector<std::string> out;
  if (names == nullptr || !names->is_object() || names->size() > kMost) return out;
  for (std::size_t n = 0; n < names->size(); ++n) {
    const auto name = names->find(std::to_string(n));
    if (name == names->end() || !name->is_string()) return {};
    out.push_back(name->get<std::string>());
  }
  return out;
}

namespace {

constexpr const char* kPooling = "1_Pooling/config.json";

/// The modules that make a vector, one behind the other, by the last words of their types.
std::vector<std::string> modules_in(const fs::path& folder) {
  std::vector<std::string> out;
  const auto modules = json_at(folder / "modules.json");
  if (!modules || !modules->is_array()) return out;
  for (const Value& module : *modules) {
    if (!module.is_object() || !module.value("type", Value()).is_string()) continue;
    const auto type = module["type"].get<std::string>();
    out.push_back(type.substr(type.rfind('.') + 1));  // npos + 1 is 0
  }
  return out;
}

}  // namespace

PoolingFiles read_pooling(const fs::path& folder) {
  PoolingFiles out;
  const auto config = json_at(folder / kPooling);
  const std::vector<std::string> modules = modules_in(folder);
  if (config) {
    std::vector<std::string> modes;
    for (const auto& [key, value] : config->items()) {
      constexpr std::string_view kMode = "pooling_mode_";
      if (key.starts_with(kMode) && json::get_or<bool>(*config, key, false, kPooling))
        modes.push_back(key.substr(kMode.size()));
    }
    constexpr std::pair<std::string_view, Pooling::Kind> kKnown[] = {
        {"mean_tokens", Pooling::Kind::kMean},
        {"cls_token", Pooling::Kind::kFirst},
        {"max_tokens", Pooling::Kind::kMax},
        {"lasttoken", Pooling::Kind::kLast}};
    for (const auto& [mode, kind] : kKnown) {
      if (modes.size() == 1 && modes[0] == mode) out.pooling.kind = kind;
    }
    const auto* known = std::ranges::find(
        kKnown, modes.empty() ? kKnown[0].first : modes[0], [](const auto& k) { return k.first; });
    if (modes.size() > 1 || known == std::end(kKnown))
      out.unsupported = fmt::format("{}", fmt::join(modes, " and "));
    std::error_code ignored;
    if (fs::is_regular_file(folder / "modules.json", ignored))
      out.pooling.unit_length = std::ranges::find(modules, "Normalize") != modules.end();
  }
  // Dropout does nothing while nothing is trained.
  constexpr std::string_view kKnown[] = {"Transformer", "Pooling", "Normalize", "Dropout"};
  for (const std::string& module : modules) {
    if (out.unsupported.empty() && std::ranges::find(kKnown, module) == std::end(kKnown))
      out.unsupported = "a module " + module;
  }
  return out;
}

}  // namespace headscope::models
