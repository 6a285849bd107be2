#include "headscope/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "headscope/generate.h"
#include "models/generation_config.h"
#include "models/gguf_config.h"
#include "models/model_files.h"
#include "models/network.h"
#include "models/patches.h"
#include "models/pointwise.h"
#include "models/towers.h"

namespace headscope {

struct Model::Parts {
  models::Place place;
  std::unique_ptr<const models::Network> network;
  GenerationConfig generation;
  models::PoolingFiles pooling;
  std::vector<std::string> labels;
  std::vector<Role> roles;
  std::optional<Tokenizer> tokenizer;
};

Model Model::load(const std::string& name, Linear::Compute compute) {
  LoadOptions options;
  options.compute = compute;
  return load(name, options);
}

Model Model::load(const std::string& name, const LoadOptions& options) {
  const models::Place place = models::find(name);
  models::ModelFiles files = models::open_model(place, options.finite);
  files.tensors.compute = options.compute;
  if (options.change) options.change(files.tensors);
  auto network = models::read_network(files);
  models::PoolingFiles pooling = models::read_pooling(place.folder);
  if (files.metadata != nullptr)
    pooling.pooling = models::pooling_from_gguf(*files.metadata, pooling.pooling);
  auto roles = models::read_roles(place.folder / "roles.json", *network);
  auto tokenizer = models::read_tokenizer(place, files, network->blueprint().vocabulary);
  GenerationConfig generation = files.metadata != nullptr
                                    ? models::generation_config_from_gguf(*files.metadata)
                                    : models::generation_config_in(place.folder, files.config);
  // Whisper's times are no tokens of old tokenizers.
  const bool hears = network->pair() != nullptr && network->pair()->speech.has_value();
  // An encoder has no use for how texts end.
  if (tokenizer && files.metadata == nullptr && !hears && network->generates())
    models::join_tokenizer(*tokenizer, network->blueprint().vocabulary, generation);
  if (const models::PairBlueprint* pair = network->pair();
      pair != nullptr && generation.begin.empty())
    generation.begin = {static_cast<std::int32_t>(pair->start_token)};
  return Model(std::unique_ptr<const Parts>(new Parts{place,
                                                      std::move(network),
                                                      std::move(generation),
                                                      std::move(pooling),
                                                      models::read_labels(files.config),
                                                      std::move(roles),
                                                      std::move(tokenizer)}));
}

Model::Model(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

const std::string& Model::name() const { return parts_->place.name; }
const std::string& Model::family() const { return parts_->network->blueprint().family; }
int Model::layers() const { return static_cast<int>(parts_->network->layers()); }
int Model::encoder_layers() const {
  const models::PairBlueprint* pair = parts_->network->pair();
  return pair == nullptr ? 0 : static_cast<int>(pair->encoder.layers.size());
}
int Model::decoder_layers() const {
  const models::PairBlueprint* pair = parts_->network->pair();
  return pair == nullptr ? 0 : static_cast<int>(pair->decoder.layers.size());
}
std::string Model::layer_name(int layer) const {
  (void)heads(layer);  // throws
  if (encoder_layers() == 0) return parts_->network->layer_name(static_cast<std::size_t>(layer));
  if (layer < encoder_layers()) return fmt::format("encoder {}", layer);
  layer -= encoder_layers();
  return layer < decoder_layers() ? fmt::format("decoder {}", layer)
                                  : fmt::format("cross {}", layer - decoder_layers());
}
std::string Model::attention_name(int layer) const {
  std::string name = layer_name(layer);
  if (encoder_layers() == 0)
    return parts_->network->attention_name(static_cast<std::size_t>(layer));
  return name.replace(name.find(' '), 1, "_attentions.");
}
int Model::heads() const { return heads(0); }
std::int64_t Model::width() const { return parts_->network->blueprint().width; }
std::int64_t Model::positions() const { return parts_->network->reader().positions; }
std::int64_t Model::answer_positions() const { return parts_->network->blueprint().positions; }
std::int64_t Model::vocabulary() const { return parts_->network->blueprint().vocabulary; }
std::int64_t Model::parameters() const { return parts_->network->parameters(); }
const std::filesystem::path& Model::folder() const { return parts_->place.folder; }
const std::filesystem::path& Model::source() const { return parts_->place.weights; }
const std::vector<Role>& Model::roles() const { return parts_->roles; }
const GenerationConfig& Model::generation() const { return parts_->generation; }
bool Model::generates() const { return parts_->network->generates(); }

std::string Model::label(std::int64_t n) const {
  const auto& labels = parts_->labels;
  const bool named = n >= 0 && n < static_cast<std::int64_t>(labels.size());
  return named ? labels[static_cast<std::size_t>(n)] : fmt::format("LABEL_{}", n);
}

Tensor Model::embedding(const Run& run, const Tensor& attention_mask) const {
  if (models::pools_itself(family())) {
    for (const char* name : {"text_embeds", "image_embeds"}) {
      if (const auto found = run.more.find(name); found != run.more.end())
        return models::unit_rows(found->second);
    }
    if (!run.pooler_output.empty()) return models::unit_rows(run.pooler_output);
  }
  if (!parts_->pooling.unsupported.empty()) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[embedding] expected pooling by mean, first or last token or maximum, "
                            "found {}",
                            parts_->pooling.unsupported));
  }
  const bool pair = !run.encoder_last_hidden_state.empty();
  return pool(pair ? run.encoder_last_hidden_state : run.last_hidden_state,
              attention_mask,
              parts_->pooling.pooling);
}

const Tokenizer& Model::tokenizer() const {
  if (parts_->tokenizer) return *parts_->tokenizer;
  std::string found = "none";
  for (const char* other : {"source.spm",
                            "spiece.model",
                            "sentencepiece.bpe.model",
                            "tokenizer.model",
                            "vocab.json",
                            "vocab.txt"}) {
    std::error_code ignored;
    if (!std::filesystem::exists(folder() / other, ignored)) continue;
    found = fmt::format("only {}; save_pretrained of a fast tokenizer of Transformers writes it",
                        other);
    break;
  }
  throw Error(
      ErrorCode::kNotFound,
      fmt::format("[model] expected tokenizer.json in {}, found {}", folder().string(), found));
}

Tokens Model::tokens(std::string_view text, std::vector<Label>* labels, bool truncate) const {
  const Encoding e = tokenizer().encode(text);
  const std::size_t n = e.ids.size();
  const auto most = static_cast<std::size_t>(positions());
  const auto specials =
      static_cast<std::size_t>(std::count(e.special.begin(), e.special.end(), std::uint8_t{1}));
  const bool from_text =
      std::any_of(e.offsets.begin(), e.offsets.end(), [](ByteRange r) { return r.begin < r.end; });
  if (!from_text)
    throw Error(ErrorCode::kInput,
                "[tokens] expected a text with at least one token, found an empty one");
  if (n > most && (!truncate || specials >= most)) {
    throw Error(
        ErrorCode::kInput,
        fmt::format(
            "[tokens] expected at most {} tokens, found {}: {} too many", most, n, n - most));
  }
  // Too long: the last tokens of the text go, what the template adds stays.
  std::vector<std::uint8_t> drop(n, 0);
  std::size_t surplus = n > most ? n - most : 0;
  for (std::size_t i = n; i-- > 0 && surplus > 0;) {
    if (e.special[i] != 0) continue;
    drop[i] = 1;
    --surplus;
  }
  // SigLIP learned from texts that padding fills up, and reads the last token.
  const bool filled = family().starts_with("siglip");
  const auto kept = static_cast<std::int64_t>(filled ? most : std::min(n, most));
  const auto padding = static_cast<std::int32_t>(parts_->network->reader().pad_token);
  Tokens tokens;
  tokens.ids = Tensor(DType::kI32, {1, kept});
  tokens.type_ids = Tensor::zeros(DType::kI32, {1, kept});
  std::ranges::fill(tokens.ids.span<std::int32_t>(), padding);
  if (labels != nullptr) labels->clear();
  for (std::size_t i = 0, at = 0; i < n; ++i) {
    if (drop[i] != 0) continue;
    tokens.ids.span<std::int32_t>()[at] = e.ids[i];
    tokens.type_ids.span<std::int32_t>()[at] = e.type_ids[i];
    ++at;
    if (labels == nullptr) continue;
    labels->push_back({e.tokens[i],
                       static_cast<std::int64_t>(e.offsets[i].begin),
                       static_cast<std::int64_t>(e.offsets[i].end),
                       e.words[i],
                       e.special[i] != 0});
  }
  for (std::size_t i = std::min(n, most); labels != nullptr && i < static_cast<std::size_t>(kept);
       ++i) {
    const auto end = static_cast<std::int64_t>(text.size());
    labels->push_back({tokenizer().token_of(padding), end, end, -1, true});
  }
  // A family without token types ignores them: all of them are 0.
  if (parts_->network->reader().types < 2) tokens.type_ids = Tensor();
  return tokens;
}

bool Model::packs() const { return parts_->network->packs(); }

bool Model::hears() const {
  const models::PairBlueprint* pair = parts_->network->pair();
  return pair != nullptr && pair->speech.has_value();
}

Tokens Model::tokens(const Audio& audio) const {
  if (!hears()) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[tokens] expected a model that hears, found {}", family()));
  }
  MelOptions options;
  options.bins = static_cast<int>(parts_->network->pair()->speech->bins);
  options.frames = 2 * positions();
  const Audio own = resample(audio, options.rate);
  const std::int64_t most = options.frames * options.hop;
  if (const auto found = static_cast<std::int64_t>(own.samples.size()); found > most) {
    throw Error(
        ErrorCode::kInput,
        fmt::format("[tokens] expected at most {} s of sound, found {:.2f}: {:.2f} too many",
                    static_cast<double>(most) / options.rate,
                    static_cast<double>(found) / options.rate,
                    static_cast<double>(found - most) / options.rate));
  }
  Tokens tokens;
  tokens.features = log_mel(own, options);
  return tokens;
}

bool Model::resumes() const { return parts_->network->resumes(); }
const models::Network& Model::network() const { return *parts_->network; }

bool Model::sees() const { return parts_->network->pictures() != nullptr; }

Tokens Model::pixels(View<const std::uint8_t, 4> rgb) const {
  const models::PatchFacts* facts = parts_->network->pictures();
  if (facts == nullptr) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[pixels] expected a model that reads pictures, found {}", family()));
  }
  Tokens tokens;
  tokens.pixels = models::pixels_for(*facts, rgb, folder() / "preprocessor_config.json");
  return tokens;
}

std::int64_t Model::frames() const {
  const models::PatchFacts* facts = parts_->network->pictures();
  return facts == nullptr ? 0 : facts->frames;
}

Tensor Model::seen(View<const std::uint8_t, 4> rgb, std::int64_t most_side) const {
  const models::PatchFacts* facts = parts_->network->pictures();
  if (facts == nullptr) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[seen] expected a model that reads pictures, found {}", family()));
  }
  const ImageRules rules = models::rules_for(*facts, folder() / "preprocessor_config.json");
  Tensor out;
  for (std::int64_t n = 0; n < rgb.shape[0]; ++n) {
    const Tensor one = seen_part(rgb[n], rules, most_side);
    if (n == 0) out = Tensor(DType::kU8, {rgb.shape[0], one.dim(0), one.dim(1), 3});
    std::copy_n(one.span<std::uint8_t>().begin(),
                one.size(),
                out.span<std::uint8_t>().begin() + n * one.size());
  }
  return out;
}

std::vector<Label> Model::labels(const Tokens& tokens, int layer, std::int64_t b) const {
  (void)heads(layer);  // throws
  return parts_->network->labels(tokens, static_cast<std::size_t>(layer), b);
}

KvCache Model::cache(DType dtype, std::int64_t positions) const {
  return parts_->network->cache(dtype, positions == 0 ? answer_positions() : positions);
}

Run Model::run(const Tokens& tokens, const RunOptions& options) const {
  if (options.resume != nullptr && !resumes()) {
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("[run] expected a model of one stack of layers to go on with in the middle, "
                    "found {}",
                    family()));
  }
  Run run = parts_->network->run(tokens, options);
  run.sighting.model = name();
  run.sighting.encoder_layers = encoder_layers();
  run.sighting.decoder_layers = decoder_layers();
  return run;
}

namespace {

// What the decoder says of an input, its beginning included, and what to call it.
Tensor answer_to(const Model& model, const Tokens& input, std::vector<Label>& labels) {
  constexpr std::int64_t kMost = 128;
  std::vector<std::int32_t> ids = model.generation().begin;
  const std::size_t begun = ids.size();
  if (model.generates()) {
    Generator generator(model, {.most = kMost});
    generator.read(input);
    while (generator.step()) continue;
    ids.insert(ids.end(), generator.answer().begin(), generator.answer().end());
  }
  Tensor out(DType::kI32, {1, static_cast<std::int64_t>(ids.size())});
  std::copy(ids.begin(), ids.end(), out.span<std::int32_t>().begin());
  for (std::size_t n = 0; n < ids.size(); ++n)
    labels.push_back({model.tokenizer().token_of(ids[n]), 0, 0, -1, n < begun});
  return out;
}

}  // namespace

Sighting Model::see(std::string_view text) const {
  std::vector<Label> labels;
  Tokens input = tokens(text, &labels);
  const Sight sight = Sight::everything();
  RunOptions options;
  options.sight = &sight;
  options.outputs = false;
  std::vector<Label> answer;
  if (encoder_layers() > 0) input.decoder_ids = answer_to(*this, input, answer);
  Run run = this->run(input, options);
  run.sighting.text = std::string(text);
  run.sighting.labels = std::move(labels);
  run.sighting.answer = std::move(answer);
  return std::move(run.sighting);
}

namespace {
std::size_t checked_layer(const Model& model, int layer) {
  if (layer < 0 || layer >= model.layers()) {
    throw Error(ErrorCode::kRange,
                fmt::format("[model] expected a layer 0..{}, found {}", model.layers() - 1, layer));
  }
  return static_cast<std::size_t>(layer);
}
}  // namespace

int Model::heads(int layer) const {
  return static_cast<int>(parts_->network->facts(checked_layer(*this, layer)).heads);
}
Tensor Model::output_weight(int layer) const {
  return parts_->network->output_weight(checked_layer(*this, layer));
}
Tensor Model::output_bias(int layer) const {
  return parts_->network->output_bias(checked_layer(*this, layer));
}
const AttentionWeights& Model::attention(int layer) const {
  return parts_->network->attention(checked_layer(*this, layer));
}

Contributions contributions(const Model& model, int layer, const AttentionTrace& trace) {
  const Tensor weight = model.output_weight(layer);
  const Tensor bias = model.output_bias(layer);
  const auto w = weight.view<float, 2>();
  const auto merged = trace.merged.view<float, 3>();
  const auto out = trace.out.view<float, 3>();
  const auto [B, T, N] = merged.shape;
  const std::int64_t C = w.shape[0];
  const std::int64_t H = model.heads(layer);
  if (w.shape[1] != N || out.shape != std::array{B, T, C} || N % H != 0) {
    throw Error(
        ErrorCode::kShape,
        fmt::format(
            "[output] expected a trace of merged [B,T,{}] and out [B,T,{}], found {} and {}",
            w.shape[1],
            C,
            to_string(merged.shape),
            to_string(out.shape)));
  }
  const std::int64_t width = N / H;
  Contributions result{Tensor(DType::kF32, {H, B, T, C}), 0.0};
  const auto parts = result.by_head.view<float, 4>();
  double worst = 0.0;
  double largest = 0.0;
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t i = 0; i < T; ++i) {
      for (std::int64_t c = 0; c < C; ++c) {
        double total = static_cast<double>(bias.span<float>()[static_cast<std::size_t>(c)]);
        for (std::int64_t h = 0; h < H; ++h) {
          double part = 0.0;
          for (std::int64_t d = 0; d < width; ++d) {
            part += static_cast<double>(merged(b, i, h * width + d)) *
                    static_cast<double>(w(c, h * width + d));
          }
          parts(h, b, i, c) = static_cast<float>(part);
          total += part;
        }
        worst = std::max(worst, std::abs(total - static_cast<double>(out(b, i, c))));
        largest = std::max(largest, std::abs(static_cast<double>(out(b, i, c))));
      }
    }
  }
  result.error = largest > 0.0 ? worst / largest : worst;
  return result;
}

}  // namespace headscope
