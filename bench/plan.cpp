// Whether `headscope plan` foretells what whole models do: six models of random weights, written to a folder, loaded and
// run as any others are, against the few layers that are measured before and behind.
//   plan [N...]   of these numbers, 1 to 6; all without
#include "architect/plan.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "headscope/generate.h"
#include "headscope/safetensors.h"
#include "headscope/threads.h"
#include "headscope/train.h"
#include "kernels/measure.h"
#include "models/census.h"
#include "models/model_files.h"

namespace {

using namespace headscope;
namespace fs = std::filesystem;
using architect::Draft;
using architect::Speeds;

/// Median of warm runs: the first one, which takes memory, never counts.
template <typename Body>
double median_seconds(Body&& body, const kernels::Repeat& repeat) {
  body();
  return kernels::median_seconds(body, repeat);
}

struct Case {
  const char* name;
  const char* config;
  DType dtype;
  std::int64_t context, batch;
};

constexpr Case kCases[] = {
    {"llama 12x512 H8 f32",
     R"({"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_size":512,"num_hidden_layers":12,
         "num_attention_heads":8,"num_key_value_heads":8,"intermediate_size":1408,"vocab_size":8192,
         "max_position_embeddings":2048})",
     DType::kF32,
     512,
     1},
    {"llama 10x768 H12 G4 bf16",
     R"({"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_size":768,"num_hidden_layers":10,
         "num_attention_heads":12,"num_key_value_heads":4,"intermediate_size":2048,"vocab_size":16384,
         "max_position_embeddings":2048,"tie_word_embeddings":true})",
     DType::kBF16,
     1024,
     1},
    {"gpt2 12x768 H12 f32",
     R"({"model_type":"gpt2","architectures":["GPT2LMHeadModel"],"n_embd":768,"n_head":12,"n_layer":12,
         "n_positions":1024,"vocab_size":50257})",
     DType::kF32,
     256,
     1},
    {"qwen2 16x512 H8 G2 f16",
     R"({"model_type":"qwen2","architectures":["Qwen2ForCausalLM"],"hidden_size":512,"num_hidden_layers":16,
         "num_attention_heads":8,"num_key_value_heads":2,"intermediate_size":1536,"vocab_size":32000,
         "max_position_embeddings":4096,"tie_word_embeddings":true})",
     DType::kF16,
     2048,
     2},
    {"mistral 14x640 H10 G2 w256 bf16",
     R"({"model_type":"mistral","architectures":["MistralForCausalLM"],"hidden_size":640,"num_hidden_layers":14,
         "num_attention_heads":10,"num_key_value_heads":2,"intermediate_size":1792,"vocab_size":16000,
         "max_position_embeddings":4096,"sliding_window":256})",
     DType::kBF16,
     1536,
     1},
    {"bert 12x384 H12 f32",
     R"({"model_type":"bert","architectures":["BertForMaskedLM"],"hidden_size":384,"num_hidden_layers":12,
         "num_attention_heads":12,"intermediate_size":1536,"vocab_size":30522,"max_position_embeddings":512})",
     DType::kF32,
     256,
     4},
};

Tensor ids(std::int64_t n, std::int64_t vocabulary, int seed) {
  Tensor out(DType::kI32, {1, n});
  std::uint64_t state = 88172645463325252ULL + static_cast<std::uint64_t>(seed);
  for (std::int32_t& id : out.span<std::int32_t>()) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    id = static_cast<std::int32_t>(state % static_cast<std::uint64_t>(vocabulary));
  }
  return out;
}

double full_training(const Draft& draft) {
  train::Trainee trainee = train::Trainee::fresh(draft.config.dump(), 1);
  train::AdamW adamw(trainee.parameters());
  const std::int64_t T = architect::train_length(draft);
  const Tensor some = ids(draft.batch * T, trainee.vocabulary(), 3);
  train::Batch batch;
  batch.ids = Tensor(DType::kI32, {draft.batch * T});
  std::copy_n(some.raw(), some.bytes(), batch.ids.raw());
  batch.labels = batch.ids.clone();
  batch.cu_seqlens = Tensor(DType::kI32, {draft.batch + 1});
  for (std::int64_t s = 0; s <= draft.batch; ++s)
    batch.cu_seqlens.span<std::int32_t>()[static_cast<std::size_t>(s)] =
        static_cast<std::int32_t>(s * T);
  const double seconds = median_seconds(
      [&] {
        (void)trainee.step(batch, {.scale = 1.0 / static_cast<double>(draft.batch * T)});
        adamw.step(trainee.parameters(), 1e-4);
      },
      {.seconds = 0.6, .least = 2, .most = 5});
  return static_cast<double>(draft.batch * T) / seconds;
}

Speeds full(const Draft& draft, const fs::path& folder) {
  const models::Blueprint b = models::read_blueprint(draft.config);
  const models::Census census =
      models::census(b, draft.config, models::architecture_of(draft.config));
  {
    const models::Tensors tensors = models::drawn(census, draft.dtype, b.matrices);
    write_safetensors(folder / "model.safetensors", tensors.by_name, {{"format", "pt"}});
    write_file(folder / "config.json", std::string_view(draft.config.dump()));
  }
  Speeds out;
  const Model model = Model::load(folder.string(), Linear::Compute::kFast);
  const std::int64_t T = draft.context;
  if (model.generates() && b.layers.front().attention.causal) {
    GenerateOptions options;
    options.positions = std::min(T + 64, model.positions());
    options.most = 64;
    options.stop_at_end = false;
    options.cache = draft.cache;
    Generator generator(model, options, static_cast<std::size_t>(draft.batch));
    int run = 0;
    const double read = median_seconds(
        [&] {
          const Tensor prompt = ids(T, model.vocabulary(), ++run);
          generator.read(prompt.span<std::int32_t>(), 0);
        },
        {.seconds = 0.6, .least = 2, .most = 5});
    out.read = static_cast<double>(T) / read;
    for (std::int64_t n = 0; n < draft.batch; ++n) {
      const Tensor prompt = ids(T - 1, model.vocabulary(), static_cast<int>(n));
      generator.read(prompt.span<std::int32_t>(), static_cast<std::size_t>(n));
    }
    (void)generator.step();
    const double step = kernels::median_seconds([&] { (void)generator.step(); },
                                                {.seconds = 1.0, .least = 3, .most = 40});
    out.decode = static_cast<double>(draft.batch) / step;
  } else {
    Tokens tokens;
    tokens.ids = ids(T, model.vocabulary(), 1);
    RunOptions options;
    options.logits_rows = 1;
    out.read = static_cast<double>(T) /
               median_seconds([&] { (void)model.run(tokens, options); }, {.seconds = 0.3});
  }
  if (architect::trains(draft)) out.train = full_training(draft);
  return out;
}

double worst = 0.0;

std::string compared(double foretold, double found) {
  if (found <= 0.0) return fmt::format("{:>24}", "-");
  const double off = foretold / found - 1.0;
  worst = std::max(worst, std::abs(off));
  return fmt::format("{:>8.0f} {:>8.0f} {:>+5.0f} %", foretold, found, 100.0 * off);
}

}  // namespace

int main(int argc, char** argv) {
  const fs::path folder =
      fs::temp_directory_path() / fmt::format("headscope-plan-{}", static_cast<int>(::getpid()));
  fs::create_directories(folder);
  fmt::print("tokens/s foretold, found and by how much the first is off; {} threads\n", threads());
  fmt::print("{:<34}{:>24}{:>24}{:>24}\n", "", "read", "decode", "train");
  for (std::size_t n = 0; n < std::size(kCases); ++n) {
    bool wanted = argc < 2;
    for (int i = 1; i < argc; ++i) wanted = wanted || std::strtoul(argv[i], nullptr, 10) == n + 1;
    if (!wanted) continue;
    const Case& one = kCases[n];
    Draft draft;
    draft.config = json::parse(one.config, "config.json");
    draft.dtype = one.dtype;
    draft.context = one.context;
    draft.batch = one.batch;
    // Before and behind the whole model: what else the machine does changes within seconds.
    Speeds foretold = architect::measure(draft);
    const Speeds found = full(draft, folder);
    const Speeds again = architect::measure(draft);
    for (double Speeds::*which : {&Speeds::read, &Speeds::decode, &Speeds::train})
      foretold.*which = (foretold.*which + again.*which) / 2.0;
    fmt::print("{:<34}{}{}{}  ({:.1f} s)\n",
               one.name,
               compared(foretold.read, found.read),
               compared(foretold.decode, found.decode),
               compared(foretold.train, found.train),
               foretold.seconds);
    std::fflush(stdout);
  }
  fs::remove_all(folder);
  fmt::print("largest difference {:.0f} %\n", 100.0 * worst);
  return worst <= 0.2 ? 0 : 1;
}
