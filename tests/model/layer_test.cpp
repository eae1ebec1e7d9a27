#include <doctest/doctest.h>

#include <string>
#include <vector>

#include <resnext/model/layer.hpp>
#include <resnext/model/table_builder.hpp>

namespace {

using namespace resnext;

static_assert(LayerName("layer").append(12).append(".").append(305).view() == "layer12.305");
static_assert(LayerName("bn").append(0).view() == "bn0");

TEST_CASE("a name holds 48 characters and no more") {
  const std::string longest(48, 'x');
  CHECK(LayerName(longest).view() == longest);
  CHECK_THROWS_AS(LayerName(longest).append("y"), std::out_of_range);
}

TEST_CASE("a window stands wherever it fits into the padded map") {
  for (const LayerOp op : {LayerOp::convolution, LayerOp::max_pool}) {
    for (int kernel : {1, 3, 7}) {
      for (int stride : {1, 2, 3}) {
        for (int padding = 0; padding <= kernel / 2; ++padding) {
          for (int edge = 1; edge <= 40; ++edge) {
            int positions = 0;
            for (int at = -padding; at + kernel <= edge + padding; at += stride) ++positions;
            Layer layer;
            layer.op = op;
            layer.out = 5;
            layer.kernel = kernel;
            layer.stride = stride;
            layer.padding = padding;
            const Extent square = output_extent(layer, {edge, edge, 5});
            const Extent wide = output_extent(layer, {edge, 40, 5});
            CAPTURE(kernel);
            CAPTURE(stride);
            CAPTURE(padding);
            CAPTURE(edge);
            REQUIRE(square == Extent{positions, positions, 5});
            REQUIRE(wide.h == positions);
          }
        }
      }
    }
  }
}

TEST_CASE("each operator has its extent, cost and state-dict entries") {
  Layer rows[7];
  TableBuilder table(rows);
  int value = table.convolution("conv", 0, 12, 24, 3, 2, 4);
  const int convolved = table.batch_norm("bn", value, 24);
  value = table.add("add", convolved, table.relu("relu", convolved, 24), 24);
  value = table.max_pool("maxpool", value, 24, 3, 2);
  value = table.average_pool("avgpool", value, 24);
  table.linear("fc", value, 24, 7);
  REQUIRE(table.count() == 7);

  Extent extents[8];
  compute_extents(rows, {15, 8, 12}, extents);
  const Extent map{8, 4, 24};
  const Extent expected[] = {{15, 8, 12}, map, map, map, map, {4, 2, 24}, {1, 1, 24}, {1, 1, 7}};
  for (int value_index = 0; value_index < 8; ++value_index) CHECK(extents[value_index] == expected[value_index]);

  CHECK(layer_macs(rows[0], extents[1]) == 8 * 4 * 24 * (12 / 4) * 3 * 3);
  CHECK(layer_macs(rows[6], extents[7]) == 24 * 7);
  for (int row = 1; row < 6; ++row) CHECK(layer_macs(rows[row], extents[row + 1]) == 0);

  std::vector<std::string> names;
  std::int64_t learned = 0;
  for_each_entry(rows, [&](const StateEntry& entry) {
    names.emplace_back(entry.name().view());
    if (entry.learned()) learned += entry.size();
  });
  CHECK(names == std::vector<std::string>{"conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var",
                                          "bn.num_batches_tracked", "fc.weight", "fc.bias"});
  CHECK(learned == 24 * 3 * 3 * 3 + 2 * 24 + 24 * 7 + 7);
}

}  // namespace
