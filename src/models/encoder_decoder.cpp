#include "models/encoder_decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "models/biases.h"
#include "models/pointwise.h"

namespace headscope::models {

namespace {

// The part of a run's options that concerns attentions first, ..., first + count - 1, in their own numbers.
struct Part {
  RunOptions options;
  std::vector<std::size_t> traces;  // which of the whole run's traces these are
};

Part part_of(const RunOptions& all, std::size_t first, std::size_t count) {
  const auto mine = [&](int layer) {
    return layer >= static_cast<int>(first) && layer < static_cast<int>(first + count);
  };
  Part part{all, {}};
  RunOptions& o = part.options;
  o.edits.clear();
  o.layers.clear();
  o.trace_layers.clear();
  for (Edit edit : all.edits) {
    if (!mine(edit.layer)) continue;
    edit.layer -= static_cast<int>(first);
    o.edits.push_back(std::move(edit));
  }
  for (const int layer : all.layers) {
    if (mine(layer)) o.layers.push_back(layer - static_cast<int>(first));
  }
  if (!all.layers.empty() && o.layers.empty()) o.sight = nullptr;
  for (std::size_t n = 0; n < all.trace_layers.size(); ++n) {
    if (!mine(all.trace_layers[n])) continue;
    o.trace_layers.push_back(all.trace_layers[n] - static_cast<int>(first));
    part.traces.push_back(n);
  }
  return part;
}

// What a stack recorded goes where the whole run keeps it.
void collect(Run& from, const Part& part, std::size_t first, Run& to) {
  for (std::size_t n = 0; n < from.sighting.layers.size(); ++n)
    to.sighting.layers[first + n] = std::move(from.sighting.layers[n]);
  for (std::size_t n = 0; n < from.traces.size(); ++n)
    to.traces[part.traces[n]] = std::move(from.traces[n]);
}

View<const std::uint8_t, 2> mask_of(const Tensor& mask) {
  return mask.empty() ? View<const std::uint8_t, 2>() : mask.view<std::uint8_t, 2>();
}

}  // namespace

EncoderDecoder::EncoderDecoder(PairBlueprint blueprint,
                               Tensors tensors,
                               const std::string& architecture)
    : blueprint_(std::move(blueprint)) {
  Blueprint& encoder = blueprint_.encoder;
  Blueprint& decoder = blueprint_.decoder;
  weights_ = std::make_shared<Weights>(std::move(tensors), decoder.prefixes, decoder.matrices);
  for (const std::string& name : blueprint_.shared_words) {
    if (weights_->find(name + ".weight") == nullptr) continue;
    encoder.word_embeddings = decoder.word_embeddings = name;
    break;
  }
  if (blueprint_.speech) {
    const SpeechFacts& s = *blueprint_.speech;
    for (const std::string& name : {s.first, s.second}) expect_bias(*weights_, name);
    front_.emplace(Front{
        Convolution(*weights_, {.name = s.first, .in = s.bins, .out = encoder.width}),
        Convolution(*weights_,
                    {.name = s.second, .in = encoder.width, .out = encoder.width, .stride = 2})});
    encoder.word_embeddings.clear();
  }
  encoder_ = std::make_unique<const Transformer>(encoder, weights_, "");
  decoder_ = std::make_unique<const Transformer>(decoder, weights_, architecture);
}

void EncoderDecoder::check(const Tokens& tokens, const RunOptions& options) const {
  const auto there = [&](int layer, std::string_view what) {
    if (layer >= 0 && static_cast<std::size_t>(layer) < layers()) return;
    throw Error(ErrorCode::kRange,
                fmt::format("[{}] expected a layer 0..{}, found {}", what, layers() - 1, layer));
  };
  for (const int layer : options.layers) there(layer, "sight");
  for (const int layer : options.trace_layers) there(layer, "trace");
  for (const Edit& edit : options.edits) there(edit.layer, "edit");
  const bool reads = !tokens.ids.empty() || !tokens.features.empty();
  for (const KvCache* cache : options.caches) {
    if (cache == nullptr)
      throw Error(ErrorCode::kUsage, "[cache] expected one for each sequence, found none");
    if (reads && cache->length() > 0) {
      throw Error(
          ErrorCode::kUsage,
          fmt::format("[cache] expected an empty one with another input, found {} tokens in it",
                      cache->length()));
    }
  }
  const bool remembers =
      !options.caches.empty() && std::all_of(options.caches.begin(),
                                             options.caches.end(),
                                             [](const auto* c) { return c->memory() != nullptr; });
  if (reads || remembers) {
    const bool hears = front_.has_value();
    if (!reads || (hears ? tokens.ids.empty() : tokens.features.empty())) return;
    throw Error(ErrorCode::kUsage,
                fmt::format("[tokens] expected {} for {}, found {}",
                            hears ? "features of sound" : "tokens",
                            blueprint().family,
                            hears ? "tokens" : "features of sound"));
  }
  throw Error(ErrorCode::kInput, "[tokens] expected an input for the encoder, found none");
}

Tokens EncoderDecoder::said(const Tokens& tokens) const {
  Tokens out;
  out.ids = tokens.decoder_ids.clone();
  out.attention_mask = tokens.decoder_mask.clone();
  if (!out.ids.empty()) return out;
  const Tensor& input = tokens.features.empty() ? tokens.ids : tokens.features;
  if (input.empty())
    throw Error(ErrorCode::kInput, "[tokens] expected tokens for the decoder, found none");
  out.ids = Tensor(DType::kI32, {input.dim(0), 1});
  std::ranges::fill(out.ids.span<std::int32_t>(),
                    static_cast<std::int32_t>(blueprint_.start_token));
  return out;
}

Run EncoderDecoder::encode(const Tokens& tokens, const RunOptions& options) const {
  if (!front_) return encoder_->run(tokens, options);
  const Shape& shape = tokens.features.shape();
  const std::int64_t bins = blueprint_.speech->bins;
  if (tokens.features.dtype() != DType::kF32 || shape.size() != 3 || shape[1] != bins ||
      tokens.features.size() == 0) {
    throw Error(ErrorCode::kShape,
                fmt::format("[tokens] expected features f32 [B,{},frames], found {} {}",
                            bins,
                            name(tokens.features.dtype()),
                            to_string(shape)));
  }
  const auto from = tokens.features.view<float, 3>();
  const auto [B, M, frames] = from.shape;
  if ((frames + 1) / 2 > reader().positions) {
    throw Error(ErrorCode::kInput,
                fmt::format("[tokens] expected at most {} frames of sound, found {}",
                            2 * reader().positions,
                            frames));
  }
  Tensor x(DType::kF32, {B, frames, M});
  const auto to = x.view<float, 3>();
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t t = 0; t < frames; ++t) {
      for (std::int64_t m = 0; m < M; ++m) to(b, t, m) = from(b, m, t);
    }
  }
  for (const Convolution* step : {&front_->first, &front_->second}) {
    x = (*step)(x);
    activate(kernels::Activation::kGelu, rows_of(x));
  }
  Tokens rows;
  rows.ids = Tensor::zeros(DType::kI32, {x.dim(0), x.dim(1)});
  return encoder_->run(rows, options, {nullptr, &x});
}

Run EncoderDecoder::decode(const Tokens& said,
                           const Run& encoded,
                           View<const std::uint8_t, 2> mask,
                           const RunOptions& options) const {
  Memory memory;
  if (!encoded.last_hidden_state.empty()) {
    memory = {encoded.last_hidden_state.view<float, 3>(), mask};
    if (memory.rows.shape[0] != said.ids.dim(0)) {
      throw Error(
          ErrorCode::kShape,
          fmt::format("[tokens] expected {} sequences for the decoder as for the encoder, found {}",
                      memory.rows.shape[0],
                      said.ids.dim(0)));
    }
    for (KvCache* cache : options.caches) {
      std::vector<KvCache::Layer> layers;
      for (const LayerFacts& l : blueprint_.decoder.layers)
        layers.push_back({l.cross->groups, l.cross->width, l.cross->value_width, -1});
      cache->set_memory(KvCache(std::move(layers), memory.rows.shape[1], cache->dtype()));
    }
    if (!options.caches.empty()) decoder_->remember(memory, options.caches);
  }
  return decoder_->run(said, options, {&memory, nullptr});
}

Run EncoderDecoder::run(const Tokens& tokens, const RunOptions& options) const {
  check(tokens, options);
  const Tokens says = said(tokens);
  const std::size_t first = encoder_->layers();
  Part reading = part_of(options, 0, first);
  reading.options.outputs = false;
  reading.options.caches.clear();
  reading.options.final_length = 0;
  const Part writing = part_of(options, first, decoder_->layers());
  const bool reads = !tokens.ids.empty() || !tokens.features.empty();
  Run encoded;
  if (reads) encoded = encode(tokens, reading.options);
  const auto mask = front_ ? View<const std::uint8_t, 2>() : mask_of(tokens.attention_mask);
  Run run = decode(says, encoded, mask, writing.options);
  Run own;
  own.sighting.layers = std::exchange(run.sighting.layers, {});
  own.traces = std::exchange(run.traces, {});
  if (options.sight != nullptr) run.sighting.layers.resize(layers());
  run.traces.resize(options.trace_layers.size());
  collect(encoded, reading, 0, run);
  collect(own, writing, first, run);
  run.encoder_last_hidden_state = std::move(encoded.last_hidden_state);
  run.encoder_hidden_states = std::move(encoded.hidden_states);
  return run;
}

}  // namespace headscope::models
