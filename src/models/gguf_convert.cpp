#include "models/gguf_convert.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <system_error>
#include <utility>

#include "formats/files.h"
#include "formats/json.h"
#include "headscope/gguf.h"
#include "models/biases.h"
#include "models/generation_config.h"
#include "models/gguf_config.h"
#include "models/gguf_experts.h"
#include "models/gguf_tensors.h"
#include "models/gguf_tokenizer.h"
#include "models/model_files.h"
#include "tensor/quants.h"
#include "tokenizers/gguf_json.h"

namespace headscope::models {

namespace {

namespace fs = std::filesystem;
using Views = std::map<std::string, AnyView, std::less<>>;
using Written = std::vector<std::pair<std::string, TensorSource>>;

/// T5's words, once more or under no other name.
constexpr std::string_view kSharedWords[] = {"encoder.embed_tokens.weight",
                                             "decoder.embed_tokens.weight"};

/// Buffers that old files carry and no reader needs, and BERT's pooler, which GGUF has no place for.
bool is_left_out(std::string_view name) {
  constexpr std::string_view kEndings[] = {"rotary_emb.inv_freq",
                                           "attention.masked_bias",
                                           "attn.masked_bias",
                                           "position_ids",
                                           "pooler.dense.weight",
                                           "pooler.dense.bias"};
  return std::ranges::find(kSharedWords, name) != std::end(kSharedWords) ||
         std::any_of(std::begin(kEndings), std::end(kEndings), [&](std::string_view ending) {
           return name.ends_with(ending);
         });
}

/// The tensors of a folder by the names of a family's table, taken one after the other, so that in
/// the end what was left behind is known.
class Taken {
 public:
  explicit Taken(const Views& views) : views_(views) {}

  /// Names come with and without the family's outermost word ("transformer.h.0", "h.0").
  const AnyView* take(const std::string& name) {
    constexpr std::string_view kOuter[] = {"model.", "transformer.", "bert.", "gpt_neox."};
    if (const AnyView* found = take_exact(name)) return found;
    const std::size_t norm = name.rfind("LayerNorm.");
    if (norm != std::string::npos && !name.ends_with("gamma") && !name.ends_with("beta")) {
      // Files of 2018 say gamma and beta.
      const char* old = name.ends_with(".weight") ? "gamma" : "beta";
      if (const AnyView* found = take(name.substr(0, norm + 10) + old)) return found;
    }
    for (const std::string_view outer : kOuter) {
      if (name.starts_with(outer)) {
        if (const AnyView* found = take_exact(name.substr(outer.size()))) return found;
      }
      if (const AnyView* found = take_exact(std::string(outer) + name)) return found;
    }
    if (name == "shared.weight") {
      for (const std::string_view own : kSharedWords) {
        if (const AnyView* found = take_exact(std::string(own))) return found;
      }
    }
    return nullptr;
  }
  /// Errors: kUnsupported, naming the first tensor nobody took.
  void expect_all(const GgufFamily& family) const {
    for (const auto& [name, view] : views_) {
      const bool mask = (name.ends_with("attn.bias") || name.ends_with("attention.bias")) &&
                        view.shape.size() == 4;
      if (taken_.contains(name) || is_left_out(name) || mask) continue;
      throw Error(
          ErrorCode::kUnsupported,
          fmt::format("[convert] expected tensors that GGUF has names for in {}, found {} {}",
                      family.architecture,
                      json::quote(name),
                      to_string(view.shape)));
    }
  }

 private:
  const AnyView* take_exact(const std::string& name) {
    const auto found = views_.find(name);
    if (found == views_.end()) return nullptr;
    taken_.insert(name);
    return &found->second;
  }

  const Views& views_;
  std::set<std::string, std::less<>> taken_;
};

/// The dtype a tensor gets: vectors and what must stay exact are f32.
DType dtype_for(const GgufLink& link, const Shape& shape, DType wanted) {
  constexpr std::string_view kExact[] = {"ffn_gate_inp", "position_embd", "token_types", "norm"};
  const bool exact = std::any_of(std::begin(kExact), std::end(kExact), [&](std::string_view part) {
    return link.gguf.find(part) != std::string::npos;
  });
  if (shape.size() < 2 || exact) return DType::kF32;
  // Readers read row by row, so a matrix of few bits costs most where it is read most.
  const bool outer = link.gguf == "token_embd.weight" || link.gguf == "output.weight";
  if (wanted == DType::kQ4_0 && outer) wanted = DType::kQ8_0;
  const std::int64_t row = link.change == GgufChange::kTurned ? shape.front() : shape.back();
  return row % block_of(wanted).numbers == 0 ? wanted : DType::kF16;
}

std::uint32_t file_type_of(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return 1;
    case DType::kQ4_0:
      return 2;
    case DType::kQ8_0:
      return 7;
    case DType::kBF16:
      return 32;
    default:
      return 0;
  }
}

void check_dtype(DType dtype, std::initializer_list<DType> allowed) {
  if (std::find(allowed.begin(), allowed.end(), dtype) != allowed.end()) return;
  throw Error(ErrorCode::kUsage, fmt::format("[convert] cannot write {}", name(dtype)));
}

/// The tensors of one link: one, or all slices of a stack.
std::vector<AnyView> take_all(Taken& taken, const GgufLink& link) {
  std::vector<AnyView> out;
  const std::size_t number = link.hf.find("{}");
  if (number == std::string::npos) {
    if (const AnyView* view = taken.take(link.hf)) out.push_back(*view);
    return out;
  }
  for (std::int64_t e = 0;; ++e) {
    std::string name = link.hf;
    const AnyView* view = taken.take(name.replace(number, 2, std::to_string(e)));
    if (view == nullptr) return out;
    if (!out.empty() && view->shape != out.front().shape) {
      throw Error(ErrorCode::kShape,
                  fmt::format("[convert] expected {} {}, found {}",
                              name,
                              to_string(out.front().shape),
                              to_string(view->shape)));
    }
    out.push_back(*view);
  }
}

TensorSource vector_of(std::vector<float> values) {
  auto kept = std::make_shared<const std::vector<float>>(std::move(values));
  return {DType::kF32,
          {static_cast<std::int64_t>(kept->size())},
          [kept](std::int64_t, std::span<std::byte> to) {
            std::copy_n(reinterpret_cast<const std::byte*>(kept->data()), to.size(), to.data());
          }};
}

/// Factors of rotary frequencies are tensors in GGUF.
void put_rope_tensors(const json::Value& config, const json::Value& metadata, Written& out) {
  const std::string where = "config.json";
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const json::Value* rope = json::find(config, key, where);
    if (rope == nullptr) continue;
    const std::string type = json::get_or<std::string>(
        *rope, "rope_type", json::get_or<std::string>(*rope, "type", "default", where), where);
    const auto p = metadata["general.architecture"].get<std::string>() + ".rope.";
    if (type == "llama3") {
      out.emplace_back(
          "rope_freqs.weight",
          vector_of(llama3_factors(*rope,
                                   metadata[p + "freq_base"].get<double>(),
                                   metadata[p + "dimension_count"].get<std::int64_t>())));
    } else if (type == "longrope" || type == "su") {
      out.emplace_back("rope_factors_long.weight",
                       vector_of(json::require<std::vector<float>>(*rope, "long_factor", where)));
      out.emplace_back("rope_factors_short.weight",
                       vector_of(json::require<std::vector<float>>(*rope, "short_factor", where)));
    }
    return;
  }
}

/// The word embeddings, once more.
std::vector<AnyView> take_words(const Views& views, const GgufFamily& family) {
  Taken taken(views);
  for (const auto& [hf, gguf] : pairs_of(family.once)) {
    if (gguf != "token_embd") continue;
    if (const AnyView* view = taken.take(hf + ".weight")) return {*view};
  }
  return {};
}

bool are_same(const std::vector<AnyView>& a, const std::vector<AnyView>& b) {
  return std::ranges::equal(a, b, [](const AnyView& x, const AnyView& y) {
    return x.dtype == y.dtype && x.shape == y.shape && std::memcmp(x.data, y.data, x.bytes()) == 0;
  });
}

/// A file without output.weight would be read as one whose embeddings are tied.
void refuse_without_output(const json::Value& config, const GgufLink& link) {
  const std::string architecture = architecture_of(config);
  constexpr std::string_view kSpeak[] = {"ForCausalLM", "LMHeadModel", "ForConditionalGeneration"};
  const bool speaks = std::ranges::any_of(
      kSpeak, [&](std::string_view ending) { return architecture.ends_with(ending); });
  if (!architecture.empty() && !speaks) return;
  throw Error(
      ErrorCode::kNotFound,
      fmt::format("[convert] expected a tensor {} (tie_word_embeddings is false), found none",
                  json::quote(link.hf)));
}

Written sources_of(const Views& views,
                   const GgufFamily& family,
                   const json::Value& config,
                   bool tied,
                   DType dtype) {
  Taken taken(views);
  Written out;
  for (const GgufLink& link : gguf_links(family, gguf_sizes(config, family))) {
    if (family.model_type == "gpt_oss" && link.hf.find("{}") != std::string::npos) {
      const auto take = [&](const std::string& name) { return taken.take(name); };
      if (auto source = experts_for_gguf(link, take, dtype))
        out.emplace_back(link.gguf, std::move(*source));
      continue;
    }
    std::vector<AnyView> parts = take_all(taken, link);
    if (link.gguf == "output.weight") {
      // Of tied embeddings a second copy may be stored; GGUF says so by leaving it out where it can. What is no copy
      // counts, whatever config.json says.
      const std::vector<AnyView> words = tied ? take_words(views, family) : std::vector<AnyView>();
      if (are_same(parts, words)) parts.clear();
      if (parts.empty() && family.untied) parts = words;
      if (parts.empty() && !tied) refuse_without_output(config, link);
    }
    if (parts.empty()) continue;
    const Shape& one = parts.front().shape;
    Shape shape = one;
    if (link.hf.find("{}") != std::string::npos) shape.insert(shape.begin(), 1);
    if (link.change == GgufChange::kOneRow && shape.size() > 1) shape.erase(shape.begin());
    const DType to = dtype_for(link, shape, dtype);
    out.emplace_back(link.gguf, gguf_source(link, std::move(parts), to));
  }
  taken.expect_all(family);
  const bool words = std::any_of(
      out.begin(), out.end(), [](const auto& t) { return t.first == "token_embd.weight"; });
  if (!words) throw Error(ErrorCode::kNotFound, "[convert] expected word embeddings, found none");
  return out;
}

/// A Gemma 3 that reads pictures, too, becomes the model that its text part is: GGUF keeps the rest in a file of
/// its own. Any other folder stays as it is.
void take_text_part(json::Value& config, Views& views) {
  if (json::get_or<std::string>(config, "model_type", "", "config.json") != "gemma3") return;
  json::Value words = gemma3_words(config);
  words["architectures"] = {"Gemma3ForCausalLM"};
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (!words.contains(key) && config.contains(key)) words[key] = config[key];
  }
  config = std::move(words);
  Views text;
  for (const auto& [name, view] : views) {
    constexpr std::string_view kOld = "language_model.", kNew = "model.language_model.";
    if (name.starts_with(kOld))
      text.emplace(name.substr(kOld.size()), view);
    else if (name.starts_with(kNew))
      text.emplace("model." + name.substr(kNew.size()), view);
    else if (name.find("vision_tower.") == std::string::npos &&
             name.find("multi_modal_projector.") == std::string::npos)
      text.emplace(name, view);
  }
  views = std::move(text);
}

/// Tells what is being written before its first row is asked for.
TensorSource telling(TensorSource source, const std::string& name, const Told& told) {
  if (!told || !source.read) return source;
  auto read = std::move(source.read);
  source.read = [read, name, told](std::int64_t row, std::span<std::byte> to) {
    if (row == 0) told(name);
    read(row, to);
  };
  return source;
}

/// A tensor in another dtype of single numbers, a row at a time.
TensorSource in_dtype(const AnyView& view, DType dtype) {
  if (view.dtype == dtype) return source_of(view);
  const std::int64_t rows = view.shape.size() < 2 ? 1 : view.shape.front();
  const std::int64_t width = view.size() / std::max<std::int64_t>(1, rows);
  const std::size_t from = bytes_of(view.dtype, width);
  return {dtype, view.shape, [=](std::int64_t row, std::span<std::byte> to) {
            const auto n = static_cast<std::int64_t>(to.size() / bytes_of(dtype, width));
            const Tensor wide = Tensor::f32_from(
                {view.dtype, {n, width}, view.data + static_cast<std::size_t>(row) * from});
            quants::quantise(dtype, wide.span<float>(), to.data());
          }};
}

/// Files that come into a folder all together: they are written beside its own, so that a full disk leaves what
/// was there as it was, and nothing of theirs.
class NewFiles {
 public:
  explicit NewFiles(fs::path to) : to_(std::move(to)) {
    std::error_code error;
    made_ = fs::create_directories(to_, error);
    if (error) files::fail(to_, "make this folder", error.value());
    folder_ = to_ / fmt::format(".convert-{}", ::getpid());
    fs::create_directory(folder_, error);
    if (!error) return;
    if (made_) fs::remove(to_);
    files::fail(to_, "write", error.value());
  }
  NewFiles(const NewFiles&) = delete;
  NewFiles& operator=(const NewFiles&) = delete;
  ~NewFiles() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
    if (made_)
      fs::remove(to_, ignored);  // which fails, as it should, when there is something in it
  }
  [[nodiscard]] const fs::path& folder() const { return folder_; }
  void commit() const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder_))
      found.push_back(entry.path());
    for (const fs::path& path : found) {
      const fs::path target = to_ / path.lexically_relative(folder_);
      std::error_code error;
      if (fs::is_directory(path))
        fs::create_directory(target, error);
      else
        fs::rename(path, target, error);
      if (error) files::fail(target, "write", error.value());
    }
  }

 private:
  fs::path to_, folder_;
  bool made_ = false;
};

/// tokenizer.json and what belongs to it, where the file has a vocabulary.
void write_tokenizer(const Gguf& file, const fs::path& folder) {
  const json::Value& metadata = file.metadata();
  const auto kind = json::get_or<std::string>(metadata, "tokenizer.ggml.model", "", file.name());
  if (kind.empty() || kind == "no_vocab" || kind == "none") return;
  const json::Value tokenizer = tokenizers::gguf_json(metadata, file.name());
  write_file(folder / "tokenizer.json", tokenizer.dump() + "\n");
  json::Value settings = {{"tokenizer_class", "PreTrainedTokenizerFast"}};
  const auto tokens = metadata.find("tokenizer.ggml.tokens");
  for (const auto& [hf, gguf] : pairs_of("bos_token=bos_token_id eos_token=eos_token_id "
                                         "pad_token=padding_token_id unk_token=unknown_token_id")) {
    const auto id = json::get_or<std::int64_t>(metadata, "tokenizer.ggml." + gguf, -1, file.name());
    if (id >= 0 && id < static_cast<std::int64_t>(tokens->size()))
      settings[hf] = (*tokens)[static_cast<std::size_t>(id)];
  }
  if (const json::Value* text = json::find(metadata, "tokenizer.chat_template", file.name()))
    settings["chat_template"] = *text;
  write_file(folder / "tokenizer_config.json",
             settings.dump(2, ' ', false, json::Value::error_handler_t::replace) + "\n");
}

/// A file that goes when it has not come under its own name.
struct Removed {
  fs::path path;
  explicit Removed(fs::path file) : path(std::move(file)) {}
  Removed(const Removed&) = delete;
  Removed& operator=(const Removed&) = delete;
  ~Removed() {
    std::error_code ignored;
    fs::remove(path, ignored);
  }
};

/// A file that loads. Errors call it `name`, and its tensors as the file of that name does.
void expect_whole(const Gguf& file, const std::string& name) {
  GgufModel model = model_from_gguf(file, true);
  ModelFiles files{
      std::move(model.config), {name, std::move(model.tensors), nullptr}, model.stored};
  if (name == file.name())
    files.tensors.own_name = [&file](std::string_view hf) { return gguf_name(file, hf); };
  (void)read_network(files);
}

/// The stacks of a model: two of T5, else one.
std::vector<Blueprint> stacks_of(const json::Value& config) {
  auto pair = read_pair(config);
  if (!pair) return {read_blueprint(config)};
  if (architecture_of(config).ends_with("EncoderModel")) return {std::move(pair->encoder)};
  return {std::move(pair->encoder), std::move(pair->decoder)};
}

/// What a reader takes from a file just written is what its source says.
void expect_same_facts(const fs::path& written,
                       const std::vector<Blueprint>& source,
                       const std::string& name) {
  const Gguf file = Gguf::open(written);
  const GgufFamily& family = gguf_family_in(file);
  const std::vector<Blueprint> found = stacks_of(config_from_gguf(file, family));
  std::string what = source.size() == found.size() ? "" : "number of stacks";
  for (std::size_t n = 0; n < source.size() && what.empty(); ++n)
    what = difference(source[n], found[n]);
  if (what.empty()) return expect_whole(file, name);
  throw Error(ErrorCode::kUnsupported,
              fmt::format("[convert] expected a model that GGUF can describe ({}), found one whose "
                          "{} it has no key for",
                          family.architecture,
                          what));
}

constexpr std::pair<Pooling::Kind, int> kPoolings[] = {
    {Pooling::Kind::kMean, 1}, {Pooling::Kind::kFirst, 2}, {Pooling::Kind::kLast, 3}};

/// Of the folders that Sentence Transformers write.
void put_pooling(const fs::path& folder, const GgufFamily& family, json::Value& metadata) {
  std::error_code ignored;
  const auto [pooling, other] = read_pooling(folder);
  if (!other.empty()) {
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("[convert] expected pooling by mean, first or last token, found {}: GGUF "
                    "has no number for it",
                    other));
  }
  if (!fs::exists(folder / "1_Pooling" / "config.json", ignored)) return;
  for (const auto& [kind, number] : kPoolings) {
    if (kind == pooling.kind) metadata[std::string(family.architecture) + ".pooling_type"] = number;
  }
  // Readers that do not know the key scale vectors to unit length, as they do all of them.
  if (!pooling.unit_length)
    metadata[std::string(family.architecture) + ".normalize_embeddings"] = false;
  if (pooling.kind == Pooling::Kind::kMax) {
    throw Error(ErrorCode::kUnsupported,
                "[convert] expected pooling by mean, first or last token, found max: GGUF has no "
                "number for it");
  }
}

void write_pooling(const Gguf& file, const json::Value& config, const fs::path& folder) {
  const auto key =
      json::get_or<std::string>(file.metadata(), "general.architecture", "", file.name()) +
      ".pooling_type";
  if (json::get_or<std::int64_t>(file.metadata(), key, 0, file.name()) == 0) return;
  const Pooling pooling = pooling_from_gguf(file.metadata(), {});
  const bool first = pooling.kind == Pooling::Kind::kFirst;
  const bool last = pooling.kind == Pooling::Kind::kLast;
  const json::Value own = {{"word_embedding_dimension", stacks_of(config).front().width},
                           {"pooling_mode_cls_token", first},
                           {"pooling_mode_mean_tokens", !first && !last},
                           {"pooling_mode_max_tokens", false},
                           {"pooling_mode_lasttoken", last}};
  json::Value modules = json::Value::array();
  for (const auto& [path, name] :
       {std::pair{"", "Transformer"}, {"1_Pooling", "Pooling"}, {"2_Normalize", "Normalize"}}) {
    if (std::string_view(name) == "Normalize" && !pooling.unit_length) continue;
    modules.push_back({{"idx", modules.size()},
                       {"name", std::to_string(modules.size())},
                       {"path", path},
                       {"type", std::string("sentence_transformers.models.") + name}});
  }
  fs::create_directory(folder / "1_Pooling");
  write_file(folder / "1_Pooling" / "config.json", own.dump(2) + "\n");
  write_file(folder / "modules.json", modules.dump(2) + "\n");
}

/// How answers begin and end: several tokens may end one, which config.json has no place for.
void write_generation(const Gguf& file, const fs::path& folder) {
  const GenerationConfig own = generation_config_from_gguf(file.metadata());
  json::Value out = json::Value::object();
  if (const json::Value* begin =
          json::find(file.metadata(), "tokenizer.ggml.bos_token_id", file.name()))
    out["bos_token_id"] = *begin;
  if (!own.stop_ids.empty()) out["eos_token_id"] = own.stop_ids;
  if (!out.empty()) write_file(folder / "generation_config.json", out.dump(2) + "\n");
}

}  // namespace

std::vector<std::string> convert_to_gguf(const fs::path& folder,
                                         const fs::path& to,
                                         DType dtype,
                                         const Told& told) {
  check_dtype(dtype, {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0});
  json::Value config =
      json::parse(read_file(folder / "config.json", std::size_t{16} << 20), "config.json");
  const Safetensors file = Safetensors::open(folder);
  Views views = file.tensors();
  take_text_part(config, views);
  const GgufFamily& family = gguf_family_of(config);
  json::Value metadata = metadata_from_config(config, family);
  const std::vector<Blueprint> stacks = stacks_of(config);
  for (const Blueprint& stack : stacks) {
    expect_biases(Weights({file.name(), views, nullptr}, stack.prefixes, stack.matrices), stack);
  }
  const auto& heads = stacks.back().heads_on_top;
  const bool tied = heads.empty() || heads.front().tied;
  Written tensors = sources_of(views, family, config, tied, dtype);
  std::int64_t vocabulary = 0;
  for (auto& [name, source] : tensors) {
    if (name == "token_embd.weight") vocabulary = source.shape.front();
    source = telling(std::move(source), name, told);
  }
  put_rope_tensors(config, metadata, tensors);
  metadata["general.type"] = "model";
  metadata["general.name"] = fs::weakly_canonical(folder).filename().string();
  metadata["general.file_type"] = file_type_of(dtype);
  metadata["general.quantization_version"] = 2;
  metadata[std::string(family.architecture) + ".vocab_size"] = vocabulary;
  const std::string difference = put_gguf_tokenizer(folder, config, vocabulary, metadata);
  put_pooling(folder, family, metadata);
  const fs::path whole =
      to.parent_path() / fmt::format(".{}.{}", to.filename().string(), ::getpid());
  const Removed removed{whole};
  write_gguf(whole, metadata, tensors);
  expect_same_facts(whole, stacks, file.name());
  std::error_code error;
  fs::rename(whole, to, error);
  if (error) files::fail(to, "write", error.value());
  std::vector<std::string> out;
  for (const auto& [name, view] : views) {
    if (name.find("pooler.dense.") != name.npos) out.push_back(name);
  }
  if (!difference.empty()) out.push_back("rules of tokenizer.json (" + difference + ")");
  return out;
}

void convert_to_folder(const fs::path& gguf,
                       const fs::path& folder,
                       DType dtype,
                       const Told& told) {
  check_dtype(dtype, {DType::kF32, DType::kF16, DType::kBF16});
  const Gguf file = Gguf::open(gguf);
  expect_whole(file, file.name());
  GgufModel model = model_from_gguf(file);
  model.config["torch_dtype"] = dtype == DType::kF32   ? "float32"
                                : dtype == DType::kF16 ? "float16"
                                                       : "bfloat16";
  std::map<std::string, TensorSource, std::less<>> sources;
  const GgufFamily& family = gguf_family_in(file);
  const bool stacked = family.model_type == "gpt_oss";
  for (const auto& [name, view] : model.tensors) {
    if (stacked && name.find(".mlp.experts.") != std::string::npos) continue;
    sources.emplace(name, in_dtype(view, dtype));
  }
  if (stacked) put_experts(file, gguf_sizes(file, family).layers, dtype, sources);
  for (auto& [name, source] : sources) source = telling(std::move(source), name, told);
  if (sources.empty()) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("[{}] expected tensors of a model, found none", file.name()));
  }
  const NewFiles files(folder);
  stream_safetensors(files.folder() / "model.safetensors", sources, {{"format", "pt"}});
  write_file(files.folder() / "config.json", model.config.dump(2) + "\n");
  write_tokenizer(file, files.folder());
  write_generation(file, files.folder());
  write_pooling(file, model.config, files.folder());
  files.commit();
}

}  // namespace headscope::models
