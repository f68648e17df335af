//! The types of the fields of Parquet's footer and page headers, by their numbers in `parquet.thrift`.

use super::thrift::Shape::{self, Binary, Bool, Byte, Double, Integer, List, Struct};

type Fields = &'static [(i64, Shape)];

const EMPTY: Shape = Struct(&[]);
const UNIT: Shape = Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]);
const TIME: Shape = Struct(&[(1, Bool), (2, UNIT)]);

const LOGICAL_TYPE: Shape = Struct(&[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    (5, Struct(&[(1, Integer), (2, Integer)])),
    (6, EMPTY),
    (7, TIME),
    (8, TIME),
    (10, Struct(&[(1, Byte), (2, Bool)])),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
    (16, Struct(&[(1, Byte)])),
    (17, Struct(&[(1, Binary)])),
    (18, Struct(&[(1, Binary), (2, Integer)])),
]);

const SCHEMA_ELEMENT: Shape = Struct(&[
    (1, Integer),
    (2, Integer),
    (3, Integer),
    (4, Binary),
    (5, Integer),
    (6, Integer),
    (7, Integer),
    (8, Integer),
    (9, Integer),
    (10, LOGICAL_TYPE),
]);

const STATISTICS: Shape = Struct(&[
    (1, Binary),
    (2, Binary),
    (3, Integer),
    (4, Integer),
    (5, Binary),
    (6, Binary),
    (7, Bool),
    (8, Bool),
]);

const KEY_VALUE: Shape = Struct(&[(1, Binary), (2, Binary)]);
const ENCODING_STATISTICS: Shape = Struct(&[(1, Integer), (2, Integer), (3, Integer)]);
const SIZE_STATISTICS: Shape = Struct(&[(1, Integer), (2, List(&Integer)), (3, List(&Integer))]);
const BOX: Shape = Struct(&[
    (1, Double),
    (2, Double),
    (3, Double),
    (4, Double),
    (5, Double),
    (6, Double),
    (7, Double),
    (8, Double),
]);
const GEOSPATIAL_STATISTICS: Shape = Struct(&[(1, BOX), (2, List(&Integer))]);

const COLUMN: Shape = Struct(&[
    (1, Integer),
    (2, List(&Integer)),
    (3, List(&Binary)),
    (4, Integer),
    (5, Integer),
    (6, Integer),
    (7, Integer),
    (8, List(&KEY_VALUE)),
    (9, Integer),
    (10, Integer),
    (11, Integer),
    (12, STATISTICS),
    (13, List(&ENCODING_STATISTICS)),
    (14, Integer),
    (15, Integer),
    (16, SIZE_STATISTICS),
    (17, GEOSPATIAL_STATISTICS),
]);

const COLUMN_CHUNK: Shape = Struct(&[
    (1, Binary),
    (2, Integer),
    (3, COLUMN),
    (4, Integer),
    (5, Integer),
    (6, Integer),
    (7, Integer),
    (8, EMPTY),
    (9, Binary),
]);

const ROW_GROUP: Shape = Struct(&[
    (1, List(&COLUMN_CHUNK)),
    (2, Integer),
    (3, Integer),
    (4, List(&Struct(&[(1, Integer), (2, Bool), (3, Bool)]))),
    (5, Integer),
    (6, Integer),
    (7, Integer),
]);

/// The footer.
pub(super) const FILE: Fields = &[
    (1, Integer),
    (2, List(&SCHEMA_ELEMENT)),
    (3, Integer),
    (4, List(&ROW_GROUP)),
    (5, List(&KEY_VALUE)),
    (6, Binary),
    (7, List(&Struct(&[(1, EMPTY)]))),
    (8, EMPTY),
    (9, Binary),
];

/// The header of a page: of data, of an index, of a dictionary, of data by the second version.
pub(super) const PAGE: Fields = &[
    (1, Integer),
    (2, Integer),
    (3, Integer),
    (4, Integer),
    (5, Struct(&[(1, Integer), (2, Integer), (3, Integer), (4, Integer), (5, STATISTICS)])),
    (6, EMPTY),
    (7, Struct(&[(1, Integer), (2, Integer), (3, Bool)])),
    (
        8,
        Struct(&[
            (1, Integer),
            (2, Integer),
            (3, Integer),
            (4, Integer),
            (5, Integer),
            (6, Integer),
            (7, Bool),
            (8, STATISTICS),
        ]),
    ),
];
