// Which head is responsible? Switches every head off in turn and ranks them by how far the sentence
// moves.
//   build/release/examples/responsible MODEL "text"
#include <algorithm>
#include <cstdio>
#include <vector>

#include "headscope/headscope.h"

int main(int argc, char** argv) {
  using namespace headscope;
  if (argc != 3) {
    std::fputs(
        "usage: responsible MODEL TEXT, for example: responsible planted \"The king gave a "
        "sword\"\n",
        stderr);
    return 2;
  }
  try {
    const Model model = Model::load(argv[1]);
    const Tokens tokens = model.tokens(argv[2]);
    const Tensor whole = mean_embedding(model.run(tokens).last_hidden_state, tokens.attention_mask);

    struct Row {
      int layer, head;
      double cosine;
    };
    std::vector<Row> rows;
    for (int layer = 0; layer < model.layers(); ++layer) {
      for (int head = 0; head < model.heads(); ++head) {
        RunOptions options;
        Edit& edit = options.edits.emplace_back();  // a new Edit silences its head
        edit.layer = layer;
        edit.head = head;
        const Tensor less =
            mean_embedding(model.run(tokens, options).last_hidden_state, tokens.attention_mask);
        double cosine = 0.0;
        for (std::size_t c = 0; c < whole.span<float>().size(); ++c) {
          cosine += double{whole.span<float>()[c]} * double{less.span<float>()[c]};
        }
        rows.push_back({layer, head, cosine});
      }
    }
    std::sort(
        rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.cosine < b.cosine; });
    for (std::size_t n = 0; n < std::min<std::size_t>(5, rows.size()); ++n) {
      std::printf("without %d.%d the sentence keeps %.3f of its direction\n",
                  rows[n].layer,
                  rows[n].head,
                  rows[n].cosine);
    }
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return exit_status(error.code());
  }
}
