// Whisper: Radford 2022. Two pre-norm stacks; the encoder reads a mel spectrum through two convolutions.
#include "models/families.h"

namespace headscope::models {

PairBlueprint whisper(const json::Value& config) {
  // The words are mBART's where both have them; what Whisper calls otherwise comes below.
  json::Value words = config;
  words["max_position_embeddings"] = size_word_or(config, "max_target_positions", 448);
  words["scale_embedding"] = false;  // Transformers read the flag and do not use it
  PairBlueprint p = mbart(words);
  for (Blueprint* b : {&p.encoder, &p.decoder}) {
    b->family = "whisper";
    b->embedding_norm.clear();
    b->position_offset = 0;
  }
  p.encoder.positions = size_word_or(config, "max_source_positions", 1500);
  p.encoder.position_rows = p.encoder.positions;
  p.decoder.position_rows = p.decoder.positions;
  p.shared_words = {"decoder.embed_tokens"};
  p.speech = SpeechFacts{size_word_or(config, "num_mel_bins", 80), "encoder.conv1", "encoder.conv2"};
  p.start_token = json::get_or<std::int64_t>(config, "decoder_start_token_id", 50257, "config.json");
  p.decoder.heads_on_top = {
      {.architecture = "ForConditionalGeneration", .out = "proj_out", .tied = true}};
  return p;
}

}  // namespace headscope::models
