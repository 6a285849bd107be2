// Sentence embeddings of a BERT against the same model composed of oneDNN's own parts, as people compose it: padded
// batches of 32, products with packed weights, bias and GELU in the product, materialised scores and softmax,
// oneDNN's layer norm, all threads in every step.
//   build/release/bench/embed MODEL [SENTENCES] [FILE]
// MODEL  a folder in Hugging Face layout (BERT); FILE  one text a line, else sentences of 3 to 90 words are made.
// Times are the best of three with the ways taking turns; vectors are compared first.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <numeric>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <vector>

#include "headscope/error.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"
#include "headscope/threads.h"
#include "kernels/one_thread.h"

namespace {

using namespace headscope;
using dnnl::memory;
using Tag = memory::format_tag;
constexpr auto kF32 = memory::data_type::f32;

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}
dnnl::stream& stream() {
  static dnnl::stream one(engine());
  return one;
}

memory on(memory::dims dims, Tag tag, const float* data) {
  return memory({std::move(dims), kF32, tag}, engine(), const_cast<float*>(data));
}

// y = x W^T + b, GELU of it when asked; one primitive for each number of rows.
class Dense {
 public:
  Dense(Tensor weight, Tensor bias, bool gelu = false)
      : weight_(std::move(weight)), bias_(std::move(bias)), gelu_(gelu) {}
  [[nodiscard]] std::int64_t out() const { return weight_.dim(0); }
  void operator()(const float* x, std::int64_t rows, float* y) {
    const std::int64_t N = weight_.dim(0);
    const std::int64_t K = weight_.dim(1);
    auto found = made_.find(rows);
    if (found == made_.end()) {
      dnnl::primitive_attr attr;
      dnnl::post_ops post;
      if (gelu_) post.append_eltwise(1.0F, dnnl::algorithm::eltwise_gelu_erf, 0.0F, 0.0F);
      attr.set_post_ops(post);
      const dnnl::matmul::primitive_desc desc({{{rows, K}, kF32, Tag::ab},
                                               {{K, N}, kF32, Tag::any},
                                               {{1, N}, kF32, Tag::ab},
                                               {{rows, N}, kF32, Tag::ab}},
                                              attr,
                                              engine());
      if (!packed_ || packed_.get_desc() != desc.weights_desc()) {
        packed_ = memory(desc.weights_desc(), engine());
        memory plain = on({K, N}, Tag::ba, std::as_const(weight_).span<float>().data());
        dnnl::reorder(plain, packed_).execute(stream(), plain, packed_);
      }
      found = made_.emplace(rows, dnnl::matmul(desc)).first;
    }
    found->second.execute(
        stream(),
        {{DNNL_ARG_SRC, on({rows, K}, Tag::ab, x)},
         {DNNL_ARG_WEIGHTS, packed_},
         {DNNL_ARG_BIAS, on({1, N}, Tag::ab, std::as_const(bias_).span<float>().data())},
         {DNNL_ARG_DST, on({rows, N}, Tag::ab, y)}});
    stream().wait();
  }

 private:
  Tensor weight_, bias_;
  bool gelu_;
  memory packed_;
  std::map<std::int64_t, dnnl::matmul> made_;
};

class Norm {
 public:
  Norm(const Tensor& weight, const Tensor& bias) : scale_shift_(DType::kF32, {2, weight.dim(0)}) {
    std::ranges::copy(weight.span<float>(), scale_shift_.span<float>().begin());
    std::ranges::copy(bias.span<float>(), scale_shift_.span<float>().begin() + weight.dim(0));
  }
  void operator()(float* x, std::int64_t rows) {
    const std::int64_t C = scale_shift_.dim(1);
    auto found = made_.find(rows);
    if (found == made_.end()) {
      constexpr float kEps = 1e-12F;
      const dnnl::layer_normalization_forward::desc what(
          dnnl::prop_kind::forward_inference,
          {{rows, C}, kF32, Tag::ab},
          kEps,
          dnnl::normalization_flags::use_scale_shift);
      found = made_.emplace(rows, dnnl::layer_normalization_forward({what, engine()})).first;
    }
    const memory rows_of_x = on({rows, C}, Tag::ab, x);
    found->second.execute(
        stream(),
        {{DNNL_ARG_SRC, rows_of_x},
         {DNNL_ARG_DST, rows_of_x},
         {DNNL_ARG_SCALE_SHIFT,
          on({2, C}, Tag::ab, std::as_const(scale_shift_).span<float>().data())}});
    stream().wait();
  }

 private:
  Tensor scale_shift_;
  std::map<std::int64_t, dnnl::layer_normalization_forward> made_;
};

// Loops of the composed way: on the threads of OpenMP that oneDNN's parts use, so that none wait for another's.
template <typename F>
void with_openmp(std::int64_t n, const F& body) {
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t i = 0; i < n; ++i) body(i);
}

class Composed {
 public:
  explicit Composed(const Model& model) : model_(model), heads_(model.heads()) {
    const Safetensors file = Safetensors::open(model.folder() / "model.safetensors");
    const auto read = [&](const std::string& name) {
      for (const char* prefix : {"", "bert."}) {
        if (const AnyView* found = file.find(prefix + name)) return Tensor::f32_from(*found);
      }
      throw Error(ErrorCode::kNotFound, fmt::format("[embed] expected {}, found none", name));
    };
    const auto dense = [&](const std::string& name, bool gelu = false) {
      return Dense(read(name + ".weight"), read(name + ".bias"), gelu);
    };
    const auto norm = [&](const std::string& name) {
      return Norm(read(name + ".weight"), read(name + ".bias"));
    };
    words_ = read("embeddings.word_embeddings.weight");
    positions_ = read("embeddings.position_embeddings.weight");
    types_ = read("embeddings.token_type_embeddings.weight");
    first_.push_back(norm("embeddings.LayerNorm"));
    for (int n = 0; n < model.layers(); ++n) {
      const std::string layer = fmt::format("encoder.layer.{}.", n);
      std::vector<float> weight, bias;
      for (const char* part : {"query", "key", "value"}) {
        const Tensor w = read(layer + "attention.self." + part + ".weight");
        const Tensor b = read(layer + "attention.self." + part + ".bias");
        weight.insert(weight.end(), w.span<float>().begin(), w.span<float>().end());
        bias.insert(bias.end(), b.span<float>().begin(), b.span<float>().end());
      }
      Tensor w(DType::kF32, {3 * model.width(), model.width()});
      Tensor b(DType::kF32, {3 * model.width()});
      std::ranges::copy(weight, w.span<float>().begin());
      std::ranges::copy(bias, b.span<float>().begin());
      layers_.push_back({Dense(std::move(w), std::move(b)),
                         dense(layer + "attention.output.dense"),
                         dense(layer + "intermediate.dense", true),
                         dense(layer + "output.dense"),
                         norm(layer + "attention.output.LayerNorm"),
                         norm(layer + "output.LayerNorm")});
    }
  }

  // The vectors of texts, batches of 32 in the order given.
  Tensor embed(std::span<const std::string> texts, bool sorted) {
    constexpr std::size_t kBatch = 32;
    std::vector<Tokens> all;
    for (const std::string& text : texts) all.push_back(model_.tokens(text));
    std::vector<std::size_t> order(texts.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (sorted)
      std::ranges::stable_sort(order, std::greater<>(), [&](auto n) { return all[n].ids.dim(1); });
    Tensor out(DType::kF32, {static_cast<std::int64_t>(texts.size()), model_.width()});
    for (std::size_t first = 0; first < order.size(); first += kBatch) {
      const auto part = std::span(order).subspan(first, std::min(kBatch, order.size() - first));
      std::int64_t longest = 0;
      for (const std::size_t n : part) longest = std::max(longest, all[n].ids.dim(1));
      const auto B = static_cast<std::int64_t>(part.size());
      Tensor ids = Tensor::zeros(DType::kI32, {B, longest});
      Tensor mask = Tensor::zeros(DType::kU8, {B, longest});
      for (std::int64_t b = 0; b < B; ++b) {
        const auto from = all[part[static_cast<std::size_t>(b)]].ids.span<std::int32_t>();
        std::ranges::copy(from, &ids.view<std::int32_t, 2>()(b, 0));
        std::fill_n(&mask.view<std::uint8_t, 2>()(b, 0), from.size(), std::uint8_t{1});
      }
      Run run;
      run.last_hidden_state = this->run(ids, mask);
      const Tensor vectors = model_.embedding(run, mask);
      for (std::int64_t b = 0; b < B; ++b)
        std::copy_n(
            &vectors.view<float, 2>()(b, 0),
            model_.width(),
            &out.view<float, 2>()(static_cast<std::int64_t>(part[static_cast<std::size_t>(b)]), 0));
    }
    return out;
  }

 private:
  struct Layer {
    Dense qkv, output, up, down;
    Norm first, second;
  };

  Tensor run(const Tensor& ids, const Tensor& mask) {
    const std::int64_t B = ids.dim(0);
    const std::int64_t T = ids.dim(1);
    const std::int64_t C = model_.width();
    const std::int64_t rows = B * T;
    Tensor x(DType::kF32, {B, T, C});
    with_openmp(B, [&](std::int64_t b) {
      for (std::int64_t t = 0; t < T; ++t) {
        const float* word = words_.span<float>().data() + ids.view<std::int32_t, 2>()(b, t) * C;
        const float* place = positions_.span<float>().data() + t * C;
        float* to = &x.view<float, 3>()(b, t, 0);
        for (std::int64_t c = 0; c < C; ++c)
          to[c] = word[c] + place[c] + types_.span<float>()[static_cast<std::size_t>(c)];
      }
    });
    float* data = x.span<float>().data();
    first_[0](data, rows);
    Tensor qkv(DType::kF32, {rows, 3 * C}), mixed(DType::kF32, {rows, C}),
        y(DType::kF32, {rows, C});
    Tensor maps(DType::kF32, {B, heads_, T, T});
    Tensor wide(DType::kF32, {rows, layers_[0].up.out()});
    const auto add = [&] {
      with_openmp(B, [&](std::int64_t b) {
        float* to = data + b * T * C;
        const float* from = std::as_const(y).span<float>().data() + b * T * C;
        for (std::int64_t i = 0; i < T * C; ++i) to[i] += from[i];
      });
    };
    for (Layer& l : layers_) {
      l.qkv(data, rows, qkv.span<float>().data());
      attend(qkv, mask, maps, mixed);
      l.output(mixed.span<float>().data(), rows, y.span<float>().data());
      add();
      l.first(data, rows);
      l.up(data, rows, wide.span<float>().data());
      l.down(wide.span<float>().data(), rows, y.span<float>().data());
      add();
      l.second(data, rows);
    }
    return x;
  }

  // Scores of all heads, softmax over them, the mix of values: a head a thread in the products.
  void attend(const Tensor& qkv, const Tensor& mask, Tensor& maps, Tensor& mixed) {
    const std::int64_t B = mask.dim(0);
    const std::int64_t T = mask.dim(1);
    const std::int64_t C = model_.width();
    const std::int64_t D = C / heads_;
    const float scale = 1.0F / std::sqrt(static_cast<float>(D));
    const float* from = qkv.span<float>().data();
    float* map = maps.span<float>().data();
    with_openmp(B * heads_, [&](std::int64_t n) {
      const kernels::OneThread one;
      const float* q = from + n / heads_ * T * 3 * C + n % heads_ * D;
      float* scores = map + n * T * T;
      dnnl_sgemm('N', 'T', T, T, D, scale, q, 3 * C, q + C, 3 * C, 0.0F, scores, T);
      for (std::int64_t j = 0; j < T; ++j) {
        if (mask.view<std::uint8_t, 2>()(n / heads_, j) != 0) continue;
        for (std::int64_t i = 0; i < T; ++i) scores[i * T + j] = -1e30F;
      }
    });
    auto found = softmax_.find(B * T * T);
    if (found == softmax_.end()) {
      const dnnl::softmax_forward::desc what(
          dnnl::prop_kind::forward_inference, {{B * heads_ * T, T}, kF32, Tag::ab}, 1);
      found = softmax_.emplace(B * T * T, dnnl::softmax_forward({what, engine()})).first;
    }
    const memory all = on({B * heads_ * T, T}, Tag::ab, map);
    found->second.execute(stream(), {{DNNL_ARG_SRC, all}, {DNNL_ARG_DST, all}});
    stream().wait();
    with_openmp(B * heads_, [&](std::int64_t n) {
      const kernels::OneThread one;
      const float* v = from + n / heads_ * T * 3 * C + 2 * C + n % heads_ * D;
      float* to = mixed.span<float>().data() + n / heads_ * T * C + n % heads_ * D;
      dnnl_sgemm('N', 'N', T, D, T, 1.0F, map + n * T * T, T, v, 3 * C, 0.0F, to, C);
    });
  }

  const Model& model_;
  std::int64_t heads_;
  Tensor words_, positions_, types_;
  std::vector<Norm> first_;
  std::vector<Layer> layers_;
  std::map<std::int64_t, dnnl::softmax_forward> softmax_;  // by B*T*T: B is 32 but once
};

// Sentences of 3 to 90 words, most of them short.
std::vector<std::string> made(std::size_t n) {
  static constexpr const char* kWords[] = {
      "the",   "old",     "king",  "gave",    "a",      "young", "prince",  "sharp",
      "sword", "and",     "said",  "nothing", "more",   "about", "war",     "in",
      "which", "he",      "had",   "lost",    "his",    "own",   "house",   "while",
      "river", "carried", "boats", "past",    "walls",  "of",    "stone",   "until",
      "night", "came",    "with",  "rain",    "people", "slept", "quietly", "there"};
  std::uint32_t state = 11;
  const auto next = [&state] { return (state = state * 1664525U + 1013904223U) >> 8; };
  std::vector<std::string> out;
  for (std::size_t i = 0; i < n; ++i) {
    const double u = static_cast<double>(next() % 10000) / 10000.0;
    std::string text;
    for (auto left = 3 + static_cast<int>(87.0 * u * u * u); left > 0; --left)
      text += (text.empty() ? "" : " ") + std::string(kWords[next() % std::size(kWords)]);
    out.push_back(text + ".");
  }
  return out;
}

std::vector<std::string> lines_of(const char* path, std::size_t n) {
  std::ifstream file(path);
  std::vector<std::string> out;
  for (std::string line; out.size() < n && std::getline(file, line);) {
    if (line.find_first_not_of(" \t\r") != line.npos) out.push_back(line);
  }
  if (out.empty()) throw Error(ErrorCode::kInput, fmt::format("[{}] expected lines of text", path));
  return out;
}

void measure(const char* name, std::size_t sentences, const char* file) {
  const Model model = Model::load(name);
  Composed composed(model);
  const auto texts = file != nullptr ? lines_of(file, sentences) : made(sentences);
  std::int64_t tokens = 0;
  for (const std::string& text : texts) tokens += model.tokens(text).ids.dim(1);
  struct Way {
    const char* name;
    double best = 1e30;
    double furthest = 0.0;
  };
  Way ways[] = {{"headscope"}, {"composed, sorted by length"}, {"composed, as they come"}};
  const Tensor expected = composed.embed(texts, true);
  for (int turn = 0; turn < 3; ++turn) {
    for (std::size_t w = 0; w < std::size(ways); ++w) {
      const auto begin = std::chrono::steady_clock::now();
      const Tensor found = w == 0 ? model.embed(texts) : composed.embed(texts, w == 1);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      ways[w].best = std::min(ways[w].best, took.count());
      for (std::size_t i = 0; i < expected.span<float>().size(); ++i)
        ways[w].furthest = std::max(
            ways[w].furthest,
            std::abs(static_cast<double>(found.span<float>()[i] - expected.span<float>()[i])));
    }
  }
  fmt::print("{} sentences, {} tokens, {} threads\n", texts.size(), tokens, threads());
  for (const Way& way : ways)
    fmt::print(
        "{:<28}{:8.3f} s {:9.0f} sentences/s {:9.0f} tokens/s {:6.2f}x   largest difference "
        "{:.1e}\n",
        way.name,
        way.best,
        static_cast<double>(texts.size()) / way.best,
        static_cast<double>(tokens) / way.best,
        way.best / ways[0].best,
        way.furthest);
}

}  // namespace

int main(int count, char** words) {
  if (count < 2) {
    std::fprintf(stderr, "embed: expected MODEL [SENTENCES] [FILE]\n");
    return 2;
  }
  try {
    measure(words[1],
            count > 2 ? static_cast<std::size_t>(std::max(1, std::atoi(words[2]))) : 1000,
            count > 3 ? words[3] : nullptr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "embed: %s\n", error.what());
    return 1;
  }
  return 0;
}
