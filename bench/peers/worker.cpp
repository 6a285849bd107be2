// Ours and the composed way of bench/peers/run: reads commands, answers one line of JSON each.
//   shape H G TQ TK D CAUSAL    takes numbers for q [TQ,H,D], k and v [TK,G,D], as a model's projections
//                               leave them, and forgets those before
//   save FOLDER                 writes q, k, v as raw f32 files
//   ours N | bf16 N | onednn N  N timed runs after one to warm up: {"seconds":[...],"beyond":bytes}
//   out WAY FILE                writes the findings [TQ,H,D] of that way as raw f32
#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <iostream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "cli/bench_case.h"
#include "headscope/error.h"
#include "headscope/linear.h"
#include "headscope/threads.h"
#include "heap.h"
#include "kernels/isa.h"
#include "kernels/measure.h"

namespace {

using namespace headscope;

struct Numbers {
  std::int64_t H = 0, G = 0, Tq = 0, Tk = 0, D = 0;
  bool causal = false;
  Tensor q, k, v;        // [T,heads,D]
  Tensor q16, k16, v16;  // the same in bf16
  Tensor out, out16;
};

// [T,heads,D] seen as [1,heads,T,D].
template <typename T, typename Owner>
View<T, 4> as_heads_of(Owner& t) {
  const std::int64_t rows = t.dim(0), heads = t.dim(1), D = t.dim(2);
  return View<T, 4>(t.template span<std::remove_const_t<T>>().data(),
                    {1, heads, rows, D},
                    {rows * heads * D, D, heads * D, 1});
}

Tensor rounded(const Tensor& from) {
  Tensor to(DType::kBF16, from.shape());
  for (std::size_t i = 0; i < from.span<float>().size(); ++i) {
    to.span<bf16>()[i] = to_bf16(from.span<float>()[i]);
  }
  return to;
}

Numbers numbers_of(std::istream& words) {
  Numbers n;
  words >> n.H >> n.G >> n.Tq >> n.Tk >> n.D >> n.causal;
  if (!words || n.H < 1 || n.G < 1 || n.H % n.G != 0 || n.Tq < 1 || n.Tk < n.Tq || n.D < 1) {
    throw Error(ErrorCode::kUsage,
                "[peers] expected shape H G TQ TK D CAUSAL, found something else");
  }
  n.q = cli::noise(DType::kF32, {n.Tq, n.H, n.D}, 1);
  n.k = cli::noise(DType::kF32, {n.Tk, n.G, n.D}, 2);
  n.v = cli::noise(DType::kF32, {n.Tk, n.G, n.D}, 3);
  n.q16 = rounded(n.q);
  n.k16 = rounded(n.k);
  n.v16 = rounded(n.v);
  n.out = Tensor(DType::kF32, n.q.shape());
  n.out16 = Tensor(DType::kBF16, n.q.shape());
  return n;
}

template <typename T>
void ours(const Tensor& q, const Tensor& k, const Tensor& v, Tensor& out, bool causal) {
  FocusInputOf<T> in{as_heads_of<const T>(q), as_heads_of<const T>(k), as_heads_of<const T>(v), {}};
  in.options.causal = causal;
  focus(in, FocusOutputOf<T>{as_heads_of<T>(out), {}});
}

void softmax_row(float* row, std::int64_t visible, std::int64_t keys, float scale) {
  float most = row[0];
  for (std::int64_t j = 1; j < visible; ++j) most = std::max(most, row[j]);
  float sum = 0.0F;
  for (std::int64_t j = 0; j < visible; ++j) sum += row[j] = std::exp(scale * (row[j] - most));
  for (std::int64_t j = 0; j < visible; ++j) row[j] /= sum;
  for (std::int64_t j = visible; j < keys; ++j) row[j] = 0.0F;
}

// Scores by one oneDNN product, softmax, second product, a head a thread; every map is kept, because
// looking at them is what the others pay this for.
void composed(Numbers& n, Tensor& maps) {
  const auto q = as_heads_of<const float>(n.q);
  const auto k = as_heads_of<const float>(n.k);
  const auto v = as_heads_of<const float>(n.v);
  const float scale = 1.0F / std::sqrt(static_cast<float>(n.D));
  parallel_for(n.H, [&](std::int64_t h) {
    const std::int64_t g = h / (n.H / n.G);
    const auto packed = [&](View<const float, 2> from) {
      Tensor to(DType::kF32, {from.shape[0], n.D});
      for (std::int64_t i = 0; i < from.shape[0]; ++i) {
        std::copy_n(&from(i, 0), n.D, to.span<float>().data() + i * n.D);
      }
      return to;
    };
    const Tensor queries = packed(q[0][h]);
    const Tensor keys = packed(k[0][g]);
    const Tensor values = packed(v[0][g]);
    const View<float, 2> map(maps.span<float>().data() + h * n.Tq * n.Tk, {n.Tq, n.Tk});
    Linear{keys.any()}(queries.view<float, 2>(), map);
    for (std::int64_t i = 0; i < n.Tq; ++i) {
      softmax_row(&map(i, 0), n.causal ? i + n.Tk - n.Tq + 1 : n.Tk, n.Tk, scale);
    }
    Tensor found(DType::kF32, {n.Tq, n.D});
    Linear(values.any(), {}, Linear::Layout::kInOut)(map, found.view<float, 2>());
    for (std::int64_t i = 0; i < n.Tq; ++i) {
      std::copy_n(found.span<float>().data() + i * n.D,
                  n.D,
                  n.out.span<float>().data() + (i * n.H + h) * n.D);
    }
  });
}

void once(Numbers& n, const std::string& way) {
  if (way == "ours") {
    ours<float>(n.q, n.k, n.v, n.out, n.causal);
  } else if (way == "bf16") {
    ours<bf16>(n.q16, n.k16, n.v16, n.out16, n.causal);
  } else if (way == "onednn") {
    Tensor maps(DType::kF32, {n.H, n.Tq, n.Tk});
    composed(n, maps);
  } else {
    throw Error(ErrorCode::kUsage,
                fmt::format("[peers] expected ours, bf16 or onednn, found {}", way));
  }
}

std::string timed(Numbers& n, const std::string& way, int times) {
  const std::size_t before = bench::heap_bytes();
  bench::restart_heap_peak();
  once(n, way);
  const std::size_t beyond = bench::heap_peak() - before;
  std::vector<double> took;
  for (int i = 0; i < times; ++i) {
    const double start = kernels::now();
    once(n, way);
    took.push_back(kernels::now() - start);
  }
  return fmt::format(R"({{"seconds":[{}],"beyond":{}}})", fmt::join(took, ","), beyond);
}

void write_raw(const std::string& path, const Tensor& numbers) {
  const Tensor wide = Tensor::f32_from(numbers.any());
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(wide.raw()), static_cast<std::streamsize>(wide.bytes()));
  if (!file)
    throw Error(ErrorCode::kIo, fmt::format("[peers] expected to write {}, could not", path));
}

std::string answer(Numbers& n, const std::string& line) {
  std::istringstream words(line);
  std::string verb, first, second;
  words >> verb;
  if (verb == "shape") {
    n = {};
    n = numbers_of(words);
    return fmt::format(R"({{"isa":"{}","threads":{}}})", kernels::table().name, threads());
  }
  if (n.H == 0) throw Error(ErrorCode::kUsage, "[peers] expected a shape first, found none");
  words >> first >> second;
  if (verb == "save") {
    write_raw(first + "/q", n.q);
    write_raw(first + "/k", n.k);
    write_raw(first + "/v", n.v);
    return "{}";
  }
  if (verb == "out") {
    once(n, first);
    write_raw(second, first == "bf16" ? n.out16 : n.out);
    return "{}";
  }
  return timed(n, verb, std::max(1, std::atoi(first.c_str())));
}

}  // namespace

int main() {
  Numbers numbers;
  for (std::string line; std::getline(std::cin, line);) {
    try {
      std::cout << answer(numbers, line) << std::endl;
    } catch (const std::exception& error) {
      std::cerr << error.what() << '\n';
      return 1;
    }
  }
  return 0;
}
